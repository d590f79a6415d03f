# long name: mobilenet-v3-l-w05-identity_1xb64-100e_cifar10   (Table 6 in small: identity)
_base_ = './mobilenet_v3_l_se_cifar10.py'

model = dict(
    backbone=dict(
        attention_cfg=dict(type='SqueezeExcitation', reduction=4, divisor=8, gate='identity')
    )
)
