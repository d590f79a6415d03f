# NA-MobileNetV2 classifier: mmpretrain's MobileNetV2 with the module in all 17 blocks.
_base_ = 'mmpretrain::_base_/models/mobilenet_v2_1x.py'

custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        type='NAMobileNetV2',
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    )
)
