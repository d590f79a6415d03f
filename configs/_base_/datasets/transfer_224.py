# Fine-tuning at 224x224 with Table 1's third column: RandAugment, no random erasing; mean and std
# stay ImageNet's, which the pretrained weights expect. 8 processes x 32 images = 256.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

train_pipeline = [t for t in _base_.train_pipeline if t['type'] != 'RandomErasing']

train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32)
test_dataloader = val_dataloader
