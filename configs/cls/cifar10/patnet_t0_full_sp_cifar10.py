# long name: patnet-t0-full-sp_1xb64-100e_cifar10       (PATNet's Table 3 in small: P F P)
_base_ = './patnet_t0_cifar10.py'

model = dict(backbone=dict(spatial_cfg=dict(type='PartialSpatialAttention', scope='all')))
