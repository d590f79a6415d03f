# long name: semantic-fpn_selnext-t_amp-40k_ade20k-512
_base_ = [
    '../_base_/models/semantic_fpn_selnext.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/ade20k_adamw_40k.py',
    '../_base_/mmseg_runtime.py',
]

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(backbone=dict(arch='tiny', init_cfg=dict(checkpoint=pretrained)))
train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=4000))
