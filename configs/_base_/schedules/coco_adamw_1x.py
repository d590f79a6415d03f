# 12 epochs; Table 4 prints half of the 3x learning rate.
_base_ = './coco_adamw_3x.py'

train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = dict(optimizer=dict(lr=1e-4))
