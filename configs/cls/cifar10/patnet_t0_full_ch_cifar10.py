# long name: patnet-t0-full-ch_1xb64-100e_cifar10       (PATNet's Table 3 in small: F P P)
_base_ = './patnet_t0_cifar10.py'

model = dict(backbone=dict(mixer_cfg=dict(type='PartialChannelAttention', scope='all')))
