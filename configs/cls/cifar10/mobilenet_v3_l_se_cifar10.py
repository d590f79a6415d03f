# long name: mobilenet-v3-l-w05_1xb64-100e_cifar10        (Tables 6 and 7 in small: baseline, SE)
_base_ = '../../_base_/cifar10_runtime.py'

model = dict(
    backbone=dict(type='AttentionMobileNetV3', arch='large', width_mult=0.5),
    head=dict(in_channels=480),
)
