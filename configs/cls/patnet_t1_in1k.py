# long name: patnet-t1_32xb128-multires-randaug-m3_in1k
_base_ = './patnet_t0_in1k.py'

rand_augment = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=3,
    magnitude_std=0.5,
    hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
)
train_pipeline = [*_base_.train_pipeline[:-1], rand_augment, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    backbone=dict(arch='t1', drop_path_rate=0.02),
    neck=dict(in_channels=384),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.1), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.01))
