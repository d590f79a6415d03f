# ImageNet-1k at 224x224 without labels: random crops of 20 % or more, and flips.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs512_mae.py'

train_dataloader = dict(batch_size=128)
