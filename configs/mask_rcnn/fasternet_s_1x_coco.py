# long name: mask-rcnn_fasternet-s_fpn_1x_coco             (PATNet's Table 2)
_base_ = './patnet_s_1x_coco.py'

pretrained = None  # a checkpoint of cls/fasternet_s_in1k.py

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterNet',
        arch='s',
        drop_path_rate=0.15,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
