# long name: cascade-mask-rcnn_convnext-s_fpn_amp-ms-crop-3x_coco     (Table 5)
_base_ = './selnext_s_3x_coco.py'

model = dict(backbone=dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6)))
