# long name: patnet-t0_1xb64-100e_cifar10
_base_ = '../../_base_/cifar10_runtime.py'

model = dict(
    backbone=dict(type='PATNet', arch='t0'),
    neck=dict(_delete_=True, type='PooledProjection', in_channels=256, act_cfg=dict(type='GELU')),
    head=dict(in_channels=1280),
)
