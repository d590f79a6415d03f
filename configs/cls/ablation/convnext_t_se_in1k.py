# long name: convnext-t-se_32xb128-ema_in1k               (Table 9: + SE; the gate is not printed)
_base_ = '../selnext_t_in1k.py'

model = dict(
    backbone=dict(
        attention_cfg=dict(type='SqueezeExcitation', reduction=16, gate='sigmoid'),
        block_norm_cfg=dict(type='LN2d', eps=1e-6),
    )
)
