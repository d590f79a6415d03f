# long name: cascade-rcnn_r50_fpn_2x-18-22_coco                       (the baseline of the NA paper's Table 4)
_base_ = [
    'mmdet::_base_/models/cascade-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_sgd_2x.py',
    '../_base_/coco_runtime.py',
]

# The hooks of coco_runtime.py are this package's.
custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

optim_wrapper = dict(optimizer=dict(lr=0.02))
