# long name: convnext-atto-se-noln_1xb64-100e_cifar10     (Table 9 in small: + SE - LN)
_base_ = './convnext_atto_se_cifar10.py'

model = dict(backbone=dict(block_norm_cfg=None))
