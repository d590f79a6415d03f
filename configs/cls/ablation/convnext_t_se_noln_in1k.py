# long name: convnext-t-se-noln_32xb128-ema_in1k          (Table 9: + SE - LN)
_base_ = './convnext_t_se_in1k.py'

model = dict(backbone=dict(block_norm_cfg=None))
