# long name: cascade-mask-rcnn_swin-t_fpn_amp-ms-crop-3x_coco         (Table 5)
_base_ = [
    '../_base_/models/cascade_mask_rcnn_swin_fpn.py',
    '../_base_/datasets/coco_instance_ms_crop.py',
    '../_base_/schedules/coco_adamw_3x_swin.py',
    '../_base_/coco_runtime.py',
]

# Swin's published ImageNet-1k weights; None trains from random ones.
pretrained = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth'

model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=pretrained)))
