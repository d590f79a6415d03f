# long name: convnext-t-seln-noln_32xb128-ema_in1k        (Table 9: + SELN - LN, which is SELNeXt-T)
_base_ = './convnext_t_seln_in1k.py'

model = dict(backbone=dict(block_norm_cfg=None))
