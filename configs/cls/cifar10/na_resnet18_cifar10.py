# long name: na-resnet18-w05_1xb64-100e_cifar10           (the NA paper, half as wide)
_base_ = './resnet18_cifar10.py'

model = dict(backbone=dict(attention_cfg=dict(_delete_=True, type='NAModule')))
