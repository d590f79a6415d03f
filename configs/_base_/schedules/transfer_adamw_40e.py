# 40 epochs, batch 256, AdamW, 10 epochs of warm-up, cosine per iteration, no EMA (Table 1's third
# column). The floor 1e-5 is the authors' fine-tuning command's, which has an EMA besides.
_base_ = './imagenet_adamw_300e.py'

train_cfg = dict(max_epochs=40)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=10, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=30,
        eta_min=1e-5,
        by_epoch=True,
        begin=10,
        end=40,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4))
custom_hooks = []

# 8 processes x 32 images
auto_scale_lr = dict(base_batch_size=256)
