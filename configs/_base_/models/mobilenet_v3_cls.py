# MobileNetV3-Large classifier: the backbone's attention is exchangeable, the rest is mmpretrain's.
_base_ = 'mmpretrain::_base_/models/mobilenet_v3/mobilenet_v3_large_imagenet.py'

custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='AttentionMobileNetV3',
        arch='large',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    head=dict(
        dropout_rate=0.2,
        loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        # Table 1 prints 0.2, as ConvNeXt's table does for 0.02.
        init_cfg=dict(_delete_=True, type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    ),
)
