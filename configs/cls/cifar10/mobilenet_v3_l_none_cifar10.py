# long name: mobilenet-v3-l-w05-none_1xb64-100e_cifar10   (Tables 6 and 7 in small: - SE)
_base_ = './mobilenet_v3_l_se_cifar10.py'

model = dict(backbone=dict(attention_cfg=None))
