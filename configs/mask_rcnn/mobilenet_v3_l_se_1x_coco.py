# long name: mask-rcnn_mobilenet-v3-l_fpn_amp-1x_coco              (Table 8: SE)
_base_ = [
    '../_base_/models/mask_rcnn_mobilenet_v3_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/coco_runtime.py',
]

pretrained = None  # a checkpoint of cls/mobilenet_v3_l_se_in1k.py

model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))
# Table 4; no layer-wise decay, which is ConvNeXt's.
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=1.0), optimizer=dict(lr=2e-4, weight_decay=1e-4)
)
