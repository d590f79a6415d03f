# long name: mask-rcnn_fasternet-l_fpn_1x_coco             (PATNet's Table 2)
_base_ = './patnet_l_1x_coco.py'

pretrained = None  # a checkpoint of cls/fasternet_l_in1k.py

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterNet',
        arch='l',
        drop_path_rate=0.3,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.'),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
