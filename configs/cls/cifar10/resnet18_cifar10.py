# long name: resnet18-w05_1xb64-100e_cifar10              (the NA paper's baseline, half as wide)
_base_ = '../../_base_/cifar10_runtime.py'

model = dict(
    # One class for the three: without attention it is mmdet's ResNet.
    backbone=dict(
        type='NAResNet',
        depth=18,
        base_channels=32,
        attention_cfg=None,
        out_indices=(3,),
        norm_eval=False,
        zero_init_residual=False,
    ),
    head=dict(in_channels=256),
)
