# 300 epochs, batch 4096, AdamW, 20 epochs of warm-up, cosine, no EMA (Table 7); floor, start and
# steps per epoch as in the published code, which decays all parameters, norms and biases too.
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

param_scheduler = [
    # 1e-6 at epoch 0, the full rate at epoch 19 and 20, as in the published code.
    dict(type='LinearLR', start_factor=2.5e-4, by_epoch=True, begin=0, end=20),
    dict(type='CosineAnnealingLR', T_max=280, eta_min=1e-5, by_epoch=True, begin=20, end=300),
]
optim_wrapper = dict(
    type='AutoAmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.005),
)

# 32 processes x 128 images
auto_scale_lr = dict(enable=False, base_batch_size=4096)
