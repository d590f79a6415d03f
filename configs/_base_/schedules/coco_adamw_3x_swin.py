# Swin's recipe: as ConvNeXt's, but lr 1e-4, no layer decay, and no weight decay on norms and tables
# of positions alone.
_base_ = './coco_adamw_3x.py'

optim_wrapper = dict(
    _delete_=True,
    type='AutoAmpOptimWrapper',
    loss_scale='dynamic',
    paramwise_cfg=dict(
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        }
    ),
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
