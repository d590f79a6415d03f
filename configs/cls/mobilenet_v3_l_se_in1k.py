# long name: mobilenet-v3-l_2xb512-ema_in1k                       (Tables 6 and 7: baseline)
_base_ = [
    '../_base_/models/mobilenet_v3_cls.py',
    '../_base_/datasets/imagenet_224_mobilenet_v3.py',
    '../_base_/schedules/imagenet_rmsprop_600e.py',
    '../_base_/imagenet_runtime.py',
]

pretrained = None  # backbone weights to start from; None trains from scratch

model = dict(
    backbone=dict(
        attention_cfg=dict(type='SqueezeExcitation', reduction=4, divisor=8, gate='hard-sigmoid'),
        init_cfg=dict(checkpoint=pretrained),
    )
)
