# long name: retinanet_selnext-t_fpn_amp-ms-crop-1x_coco
_base_ = [
    '../_base_/models/retinanet_selnext_fpn.py',
    '../_base_/datasets/coco_detection_ms_crop.py',
    '../_base_/schedules/coco_adamw_1x.py',
    '../_base_/coco_runtime.py',
]

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(backbone=dict(arch='tiny', drop_path_rate=0.4, init_cfg=dict(checkpoint=pretrained)))
