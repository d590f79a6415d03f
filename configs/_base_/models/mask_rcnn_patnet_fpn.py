# Mask R-CNN with mmdet's defaults, PATNet behind the FPN; each output through its own BN.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='PATNet',
        arch='s',
        out_indices=(0, 1, 2, 3),
        # Ours: the norm in a channel gate would normalise over the 2 images of a device.
        gate_norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
