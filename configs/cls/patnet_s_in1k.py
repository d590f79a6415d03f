# long name: patnet-s_32xb128-multires-randaug-m7_in1k
_base_ = './patnet_t1_in1k.py'

rand_augment = dict(_base_.rand_augment, magnitude_level=7)
train_pipeline = [*_base_.train_pipeline[:-2], rand_augment, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    backbone=dict(arch='s', drop_path_rate=0.1),
    neck=dict(in_channels=768, act_cfg=dict(type='ReLU')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.3), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.03))
