# long name: convnext-atto-se_1xb64-100e_cifar10          (Table 9 in small: + SE)
_base_ = './convnext_atto_cifar10.py'

model = dict(
    backbone=dict(
        attention_cfg=dict(_delete_=True, type='SqueezeExcitation', reduction=16, gate='sigmoid')
    )
)
