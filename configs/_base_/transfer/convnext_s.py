_base_ = './convnext_t.py'

pretrained = None  # ImageNet-1k weights of ConvNeXt-S; mmpretrain's have the same names

model = dict(backbone=dict(arch='small'))
