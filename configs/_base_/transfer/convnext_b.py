_base_ = './convnext_t.py'

pretrained = None  # ImageNet-1k weights of ConvNeXt-B; mmpretrain's have the same names

model = dict(backbone=dict(arch='base'), head=dict(in_channels=1024))
