# long name: na-resnet18-w05-embedding_1xb64-100e_cifar10   (the NA paper's Table 2 in small: with embedding)
_base_ = './na_resnet18_cifar10.py'

model = dict(backbone=dict(attention_cfg=dict(embedding=True)))
