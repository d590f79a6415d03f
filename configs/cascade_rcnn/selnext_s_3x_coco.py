# long name: cascade-rcnn_selnext-s_fpn_amp-ms-crop-3x_coco
_base_ = './selnext_t_3x_coco.py'

pretrained = None  # a file written by: selnext-mm convert ... --to detection

model = dict(backbone=dict(arch='small', drop_path_rate=0.6, init_cfg=dict(checkpoint=pretrained)))
