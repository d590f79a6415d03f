# long name: convnext-atto-seln_1xb64-100e_cifar10        (Table 9 in small: + SELN)
_base_ = './convnext_atto_cifar10.py'

model = dict(backbone=dict(attention_cfg=dict(_delete_=True, type='SELN', reduction=16)))
