# 24 epochs, SGD, x0.1 at 18 and 22 (the NA paper's section 5.3; mmdet's 2x has 16 and 22), 500
# iterations of warm-up (mmdet's), 8 processes x 2 images.
_base_ = 'mmdet::_base_/schedules/schedule_2x.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=24, milestones=[18, 22], gamma=0.1),
]
