# long name: patnet-t0-depths-1282_1xb64-100e_cifar10   (PATNet's Table 4 in small: 1-2-8-2)
_base_ = './patnet_t0_cifar10.py'

model = dict(
    backbone=dict(arch=dict(_delete_=True, depths=(1, 2, 8, 2), channels=(32, 64, 128, 256)))
)
