# long name: mask-rcnn_mobilenet-v3-l-seln_fpn_amp-1x_coco         (Table 8: SELN)
_base_ = './mobilenet_v3_l_se_1x_coco.py'

pretrained = None  # a checkpoint of cls/mobilenet_v3_l_seln_in1k.py

model = dict(
    backbone=dict(
        attention_cfg=dict(type='SELN', reduction=4, divisor=8),
        init_cfg=dict(checkpoint=pretrained),
    )
)
