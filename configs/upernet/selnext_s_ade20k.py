# long name: upernet_selnext-s_amp-160k_ade20k-512
_base_ = './selnext_t_ade20k.py'

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(backbone=dict(arch='small', drop_path_rate=0.3, init_cfg=dict(checkpoint=pretrained)))
