# long name: mask-rcnn_convnext-t_fpn_amp-ms-crop-3x_coco             (Table 5)
_base_ = './selnext_t_3x_coco.py'

# The lr is ConvNeXt's; Table 4 has 2e-4 for SELNeXt.
model = dict(backbone=dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6)))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
