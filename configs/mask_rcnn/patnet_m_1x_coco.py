# long name: mask-rcnn_patnet-m_fpn_1x_coco
_base_ = './patnet_s_1x_coco.py'

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(
    backbone=dict(arch='m', drop_path_rate=0.2, init_cfg=dict(checkpoint=pretrained)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
