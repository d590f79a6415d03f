# long name: mask-rcnn_patnet-l_fpn_1x_coco
_base_ = './patnet_s_1x_coco.py'

pretrained = None  # a file written by: selnext-mm convert ... --to detection

# Table 8 prints the learning rate 2e-4; the published config of L has 1e-4.
model = dict(
    backbone=dict(arch='l', drop_path_rate=0.3, init_cfg=dict(checkpoint=pretrained)),
    neck=dict(in_channels=[160, 320, 640, 1280]),
)
