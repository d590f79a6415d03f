# long name: upernet_convnext-t_amp-160k_ade20k-512          (the baseline; printed: ConvNeXt's paper)
_base_ = './selnext_t_ade20k.py'

model = dict(backbone=dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6)))
