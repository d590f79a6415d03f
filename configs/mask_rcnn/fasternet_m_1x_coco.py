# long name: mask-rcnn_fasternet-m_fpn_1x_coco             (PATNet's Table 2)
_base_ = './patnet_m_1x_coco.py'

pretrained = None  # a checkpoint of cls/fasternet_m_in1k.py

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterNet',
        arch='m',
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.'),
    ),
    neck=dict(in_channels=[144, 288, 576, 1152]),
)
