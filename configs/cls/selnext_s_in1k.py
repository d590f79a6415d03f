# long name: selnext-s_32xb128-ema_in1k
_base_ = './selnext_t_in1k.py'

pretrained = None  # backbone weights to start from; None trains from scratch

model = dict(backbone=dict(arch='small', drop_path_rate=0.4, init_cfg=dict(checkpoint=pretrained)))
