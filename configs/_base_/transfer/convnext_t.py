_base_ = './selnext_t.py'

pretrained = None  # ImageNet-1k weights, e.g. of cls/ablation/convnext_t_baseline_in1k.py

model = dict(backbone=dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6)))
