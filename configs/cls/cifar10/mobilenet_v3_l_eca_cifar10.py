# long name: mobilenet-v3-l-w05-eca_1xb64-100e_cifar10  (Table 7 in small: - SE + ECA)
_base_ = './mobilenet_v3_l_se_cifar10.py'

model = dict(backbone=dict(attention_cfg=dict(type='EfficientChannelAttention')))
