# 8 epochs of one cycle in batches of 128 (ours, no paper prints it); lr 1e-3 * sqrt(128 / 64).
train_cfg = dict(by_epoch=True, max_epochs=8)

param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=1.4e-3,
        total_steps=8,
        pct_start=0.1,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.4e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)

auto_scale_lr = dict(enable=False, base_batch_size=128)
