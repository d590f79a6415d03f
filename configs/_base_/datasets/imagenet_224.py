# ImageNet-1k at 224x224 with Table 1's augmentation; 32 processes x 128 images = 4096.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
