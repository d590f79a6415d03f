# long name: na-resnet18-w05-mean_1xb64-100e_cifar10    (the NA paper's Table 3 in small: mean)
_base_ = './na_resnet18_cifar10.py'

model = dict(backbone=dict(attention_cfg=dict(context='mean')))
