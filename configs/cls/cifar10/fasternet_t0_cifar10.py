# long name: fasternet-t0_1xb64-100e_cifar10              (PATNet's Table 1: its baseline)
_base_ = '../../_base_/cifar10_runtime.py'

model = dict(
    backbone=dict(type='FasterNet', arch='t0'),
    neck=dict(_delete_=True, type='PooledProjection', in_channels=320, act_cfg=dict(type='GELU')),
    head=dict(in_channels=1280),
)
