# long name: patnet-t0-conv-only_1xb64-100e_cifar10     (PATNet's Table 4 in small: no attention)
_base_ = './patnet_t0_cifar10.py'

model = dict(
    backbone=dict(mixer_cfg=dict(type='PartialConv'), last_mixer_cfg=None, spatial_cfg=None)
)
