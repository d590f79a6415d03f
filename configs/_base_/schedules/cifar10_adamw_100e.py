# The one recipe of the small comparison (ours, no paper prints it): AdamW, batch 64, lr 1e-3, up
# for a tenth of the time, then down to 0, per iteration; no decay of norms, biases and scales.
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=10)
val_cfg = dict()
test_cfg = dict()

# One number, total_steps, is all that another length needs: "selnext-mm compare --epochs" sets it.
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=1e-3,
        total_steps=100,
        pct_start=0.1,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)

auto_scale_lr = dict(enable=False, base_batch_size=64)
