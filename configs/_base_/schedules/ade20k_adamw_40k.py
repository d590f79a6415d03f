# 40,000 iterations of 32 images, AdamW: mmsegmentation's recipe for Semantic FPN with PoolFormer.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=40000, eta_min=0.0)]

optim_wrapper = dict(
    type='AutoAmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=1e-4),
)

# 8 processes x 4 images
auto_scale_lr = dict(enable=False, base_batch_size=32)
