# long name: selnext-atto_1xb64-100e_cifar10              (Table 9 in small: + SELN - LN)
_base_ = './convnext_atto_seln_cifar10.py'

model = dict(backbone=dict(block_norm_cfg=None))
