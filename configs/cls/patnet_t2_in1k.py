# long name: patnet-t2_32xb128-multires-randaug-m5_in1k
_base_ = './patnet_t1_in1k.py'

rand_augment = dict(_base_.rand_augment, magnitude_level=5)
train_pipeline = [*_base_.train_pipeline[:-2], rand_augment, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    backbone=dict(arch='t2', drop_path_rate=0.05),
    neck=dict(in_channels=512, act_cfg=dict(type='ReLU')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.1), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.02))
