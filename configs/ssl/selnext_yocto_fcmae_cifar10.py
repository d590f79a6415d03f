# long name: selnext-yocto_1xb128-fcmae-8e_cifar10   (64 pixels, 4 x 4 cells of 16)
_base_ = [
    '../_base_/models/fcmae_selnext.py',
    '../_base_/datasets/cifar10_folders_64_fcmae.py',
    '../_base_/schedules/cifar10_adamw_fcmae_8e.py',
    '../_base_/imagenet_runtime.py',
]

model = dict(
    patch_size=16,
    decoder_channels=128,
    backbone=dict(arch='yocto', layer_scale_init_value=1.0),
)

default_hooks = dict(checkpoint=dict(save_best=None))
