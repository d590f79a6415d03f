# SELNeXt-T by Table 1's third column; the data set, and its number of classes, are the leaf's.
_base_ = [
    '../models/selnext_cls.py',
    '../schedules/transfer_adamw_40e.py',
    '../imagenet_runtime.py',
]

pretrained = None  # ImageNet-1k weights, e.g. a checkpoint of cls/selnext_t_in1k.py

model = dict(backbone=dict(drop_path_rate=0.0))
