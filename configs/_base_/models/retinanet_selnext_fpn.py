# RetinaNet (mmdet's defaults) with SELNeXt behind the FPN, which starts at stride 8. The map of
# stride 4 would be unused, so the backbone does not return it: its norm would get no gradient.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='SELNeXt',
        arch='tiny',
        out_indices=(1, 2, 3),
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(in_channels=[192, 384, 768], start_level=0),
)
