# long name: selnext-t_32xb128-ema_in1k
_base_ = [
    '../_base_/models/selnext_cls.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/imagenet_adamw_300e.py',
    '../_base_/imagenet_runtime.py',
]

pretrained = None  # backbone weights to start from; None trains from scratch

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.1, init_cfg=dict(checkpoint=pretrained)))
