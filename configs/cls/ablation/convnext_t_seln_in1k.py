# long name: convnext-t-seln_32xb128-ema_in1k             (Table 9: + SELN)
_base_ = '../selnext_t_in1k.py'

model = dict(
    backbone=dict(
        attention_cfg=dict(type='SELN', reduction=16),
        block_norm_cfg=dict(type='LN2d', eps=1e-6),
    )
)
