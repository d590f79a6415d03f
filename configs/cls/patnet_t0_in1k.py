# long name: patnet-t0_32xb128-multires_in1k
_base_ = [
    '../_base_/models/patnet_cls.py',
    '../_base_/datasets/imagenet_multires.py',
    '../_base_/schedules/imagenet_adamw_patnet.py',
    '../_base_/imagenet_runtime.py',
]

pretrained = None  # backbone weights to start from; None trains from scratch

model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))
