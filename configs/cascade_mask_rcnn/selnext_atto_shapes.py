# long name: cascade-mask-rcnn_selnext-atto_fpn-64_shapes-224
_base_ = [
    '../_base_/models/cascade_mask_rcnn_selnext_atto_slim.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/shapes_adamw.py',
    '../_base_/coco_runtime.py',
]
