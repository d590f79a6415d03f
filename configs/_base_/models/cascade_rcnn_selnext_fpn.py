# Cascade R-CNN (mmdet's defaults) with SELNeXt behind the FPN.
_base_ = 'mmdet::_base_/models/cascade-rcnn_r50_fpn.py'

custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='SELNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
