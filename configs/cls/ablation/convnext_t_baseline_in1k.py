# long name: convnext-t_32xb128-ema_in1k                  (Table 9: baseline; our block as ConvNeXt's)
_base_ = '../selnext_t_in1k.py'

model = dict(backbone=dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6)))
