# long name: mobilenet-v2_1xb64-100e_cifar10              (PATNet's Table 1: a peer)
_base_ = '../../_base_/cifar10_runtime.py'

model = dict(backbone=dict(type='MobileNetV2'), head=dict(in_channels=1280))
