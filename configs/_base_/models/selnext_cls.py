# SELNeXt classifier: global mean, norm, linear head; label smoothing, mixup and cutmix of Table 1.
_base_ = 'mmpretrain::_base_/models/convnext/convnext-tiny.py'

custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='SELNeXt',
        arch='tiny',
        drop_path_rate=0.1,
        layer_scale_init_value=1e-6,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    )
)
