# long name: selnext-t_32xb128-fcmae-1600e_in1k
_base_ = [
    '../_base_/models/fcmae_selnext.py',
    '../_base_/datasets/imagenet_224_fcmae.py',
    '../_base_/schedules/imagenet_adamw_fcmae.py',
    '../_base_/imagenet_runtime.py',
]

default_hooks = dict(checkpoint=dict(save_best=None))
