# long name: convnext-atto_1xb64-100e_cifar10             (Table 9 in small: baseline)
_base_ = '../../_base_/cifar10_runtime.py'

model = dict(
    backbone=dict(
        type='SELNeXt',
        arch='atto',
        attention_cfg=None,
        block_norm_cfg=dict(type='LN2d', eps=1e-6),
    ),
    neck=None,  # the backbone averages before its last norm
    head=dict(in_channels=320),
)
