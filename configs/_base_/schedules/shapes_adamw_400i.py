# Training from scratch on label maps of the synthetic shapes: 400 iterations.
_base_ = './ade20k_adamw_160k.py'

train_cfg = dict(max_iters=400, val_interval=200)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=400, eta_min=1e-5),
]
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=1.0),
    optimizer=dict(lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(base_batch_size=4)
