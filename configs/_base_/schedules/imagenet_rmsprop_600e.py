# 600 epochs, batch 1024, RMSprop, step decay, EMA 0.9999 (Table 1; timm's mobilenetv3_large_100
# where the table is silent). timm's random changes of the rate in epochs 252 to 540 are left out.
train_cfg = dict(by_epoch=True, max_epochs=600, val_interval=1)
val_cfg = dict()
test_cfg = dict()

warmup = 5
param_scheduler = [
    # 1e-6 at epoch 0, 0.064 at epoch 5.
    dict(type='LinearLR', start_factor=1e-6 / 0.064, by_epoch=True, begin=0, end=warmup + 1),
    # x 0.973 every 2.4 epochs, rates changing between epochs: at 3, 5, 8, 10, 12, ...; what falls
    # into the warm-up is made up for at its end.
    dict(
        type='MultiStepLR',
        by_epoch=True,
        gamma=0.973,
        milestones=[max(-(-12 * k // 5), warmup) for k in range(1, 250)],
    ),
]

# timm's RMSprop adds eps = 1e-3 to the mean square under the root, torch's adds it to the root:
# sqrt(1e-3) = 0.0316 gives the same step for small and for large gradients, and at most a factor
# sqrt(2) less between, at a root mean square of 0.0316. timm also starts the mean square at 1.
optim_wrapper = dict(
    type='AutoAmpOptimWrapper',
    loss_scale='dynamic',
    # No weight decay on biases, norms and other one-dimensional parameters, as in timm.
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        type='RMSprop', lr=0.064, alpha=0.9, momentum=0.9, eps=0.0316, weight_decay=1e-5
    ),
)

# Validation runs on the averaged weights, batch-norm statistics among them.
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]

# 2 processes x 512 images
auto_scale_lr = dict(enable=False, base_batch_size=1024)
