# long name: patnet-t0-dwconv_1xb64-100e_cifar10        (PATNet's Table 5 in small: DWConv, no wider)
_base_ = './patnet_t0_cifar10.py'

model = dict(backbone=dict(mixer_cfg=dict(type='PartialConv', ratio=1.0, depthwise=True)))
