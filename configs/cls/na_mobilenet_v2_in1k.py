# long name: na-mobilenet-v2_8xb64-cosine-150e_in1k
_base_ = [
    '../_base_/models/na_mobilenet_v2_cls.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../_base_/schedules/imagenet_sgd_cosine_150e.py',
    '../_base_/imagenet_runtime.py',
]

pretrained = None  # backbone weights to start from; None trains from scratch

model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))
