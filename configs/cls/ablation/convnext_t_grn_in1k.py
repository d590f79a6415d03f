# long name: convnext-t-grn_32xb128-ema_in1k              (Table 9: + GRN, which has no layer scale)
_base_ = '../selnext_t_in1k.py'

model = dict(
    backbone=dict(
        attention_cfg=dict(type='GlobalResponseNorm'),
        block_norm_cfg=dict(type='LN2d', eps=1e-6),
        layer_scale_init_value=0.0,
    )
)
