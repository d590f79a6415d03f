# long name: cascade-mask-rcnn_swin-s_fpn_amp-ms-crop-3x_coco         (Table 5)
_base_ = './swin_t_3x_coco.py'

pretrained = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_small_patch4_window7_224.pth'

model = dict(backbone=dict(depths=[2, 2, 18, 2], init_cfg=dict(checkpoint=pretrained)))
