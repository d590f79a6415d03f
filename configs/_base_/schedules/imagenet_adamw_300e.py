# 300 epochs, batch 4096, AdamW, 20 epochs of warm-up, cosine per iteration, EMA 0.9999 (Table 1).
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

param_scheduler = [
    # The recipe starts at 0, which this scheduler's multiplicative form cannot leave.
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=280,
        eta_min=1e-6,
        by_epoch=True,
        begin=20,
        end=300,
        convert_to_iter_based=True,
    ),
]

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
)

# Validation runs on the averaged weights.
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]

# 32 processes x 128 images
auto_scale_lr = dict(enable=False, base_batch_size=4096)
