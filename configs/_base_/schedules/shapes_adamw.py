# Training from scratch on the synthetic shapes: the COCO schedule, with its own lengths and rates.
_base_ = './coco_adamw_3x.py'

train_cfg = dict(max_epochs=4, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=4,
        eta_min=1e-5,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=1.0),
    optimizer=dict(lr=1e-3),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(base_batch_size=2)
