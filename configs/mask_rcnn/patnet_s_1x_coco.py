# long name: mask-rcnn_patnet-s_fpn_1x_coco
_base_ = [
    '../_base_/models/mask_rcnn_patnet_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_adamw_1x_plain.py',
    '../_base_/coco_runtime.py',
]

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(backbone=dict(drop_path_rate=0.15, init_cfg=dict(checkpoint=pretrained)))
