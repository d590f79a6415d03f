# long name: patnet-m_16xb128-multires-randaug-m7-clip1_in1k
_base_ = './patnet_s_in1k.py'

model = dict(
    backbone=dict(arch='m', drop_path_rate=0.2),
    neck=dict(in_channels=1024),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5), dict(type='CutMix', alpha=1.0)]),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=5e-4, by_epoch=True, begin=0, end=20),
    dict(type='CosineAnnealingLR', T_max=280, eta_min=1e-5, by_epoch=True, begin=20, end=300),
]
optim_wrapper = dict(
    optimizer=dict(lr=2e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0, norm_type=2)
)
auto_scale_lr = dict(base_batch_size=2048)
