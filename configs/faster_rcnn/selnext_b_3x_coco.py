# long name: faster-rcnn_selnext-b_fpn_amp-ms-crop-3x_coco
_base_ = './selnext_t_3x_coco.py'

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.7, init_cfg=dict(checkpoint=pretrained)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
