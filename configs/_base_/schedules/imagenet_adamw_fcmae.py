# FCMAE's published pretraining: 1600 epochs, batch 4096, AdamW, lr 1.5e-4 * 4096 / 256, 40 epochs of
# warm-up, cosine to 0 per iteration. No validation: there is nothing to measure but the loss.
train_cfg = dict(by_epoch=True, max_epochs=1600)

param_scheduler = [
    # The recipe starts at 0, which this scheduler's multiplicative form cannot leave.
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=40, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=1560,
        eta_min=0,
        by_epoch=True,
        begin=40,
        end=1600,
        convert_to_iter_based=True,
    ),
]

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.4e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)

# 32 processes x 128 images
auto_scale_lr = dict(enable=False, base_batch_size=4096)
