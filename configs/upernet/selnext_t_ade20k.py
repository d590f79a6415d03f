# long name: upernet_selnext-t_amp-160k_ade20k-512
_base_ = [
    '../_base_/models/upernet_selnext.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/ade20k_adamw_160k.py',
    '../_base_/mmseg_runtime.py',
]

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.4, init_cfg=dict(checkpoint=pretrained)))
