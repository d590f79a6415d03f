# long name: patnet-t0-full-sf_1xb64-100e_cifar10       (PATNet's Table 3 in small: P P F)
_base_ = './patnet_t0_cifar10.py'

model = dict(
    backbone=dict(last_mixer_cfg=dict(type='PartialSelfAttention', scope='all', num_heads=8))
)
