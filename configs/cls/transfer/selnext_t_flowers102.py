# long name: selnext-t_8xb32_flowers102
_base_ = [
    '../../_base_/models/selnext_cls.py',
    '../../_base_/datasets/flowers102_224.py',
    '../../_base_/schedules/transfer_adamw_40e.py',
    '../../_base_/imagenet_runtime.py',
]

pretrained = None  # ImageNet-1k weights, e.g. a checkpoint of cls/selnext_t_in1k.py

model = dict(
    backbone=dict(arch='tiny', drop_path_rate=0.0, init_cfg=dict(checkpoint=pretrained)),
    head=dict(num_classes=102),
)
