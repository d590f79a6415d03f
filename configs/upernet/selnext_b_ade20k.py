# long name: upernet_selnext-b_amp-160k_ade20k-512
_base_ = './selnext_t_ade20k.py'

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.4, init_cfg=dict(checkpoint=pretrained)),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
