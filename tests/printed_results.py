"""Results that the papers print for our configs, digit for digit."""

# As printed in "A Latency-Efficient Integration of Channel Attention for ConvNets" (Tables 2, 3, 5
# to 9), "Attention Meets Normalization and Beyond" (1, 4) and "Partial Convolution Meets Visual
# Attention" (2, 9). Top-1 accuracy, AP, or box / mask AP.
# Table 3: T, S and B of each.
TRANSFER_ROWS = {
    'cifar100': dict(convnext=('89.1', '90.6', '90.8'), selnext=('89.9', '90.7', '91.5')),
    'flowers102': dict(convnext=('90.0', '91.4', '94.1'), selnext=('92.0', '93.9', '94.5')),
    'cars': dict(convnext=('86.0', '87.0', '89.6'), selnext=('87.2', '89.9', '90.2')),
    'aircraft': dict(convnext=('77.7', '79.9', '81.5'), selnext=('79.8', '80.8', '82.7')),
}
TRANSFER = {
    f'cls/transfer/{family}_{size}_{data}.py': value
    for data, row in TRANSFER_ROWS.items()
    for family, values in row.items()
    for size, value in zip('tsb', values, strict=True)
}
IMAGENET = {
    **dict(selnext_t='82.6', selnext_s='83.8', selnext_b='84.2'),
    'ablation/convnext_t_baseline': '82.1',
    'ablation/convnext_t_grn': '82.5',
    'ablation/convnext_t_se': '82.41',
    'ablation/convnext_t_seln': '82.39',
    'ablation/convnext_t_se_noln': '82.45',
    'ablation/convnext_t_seln_noln': '82.55',
    **dict(mobilenet_v3_l_se='75.78', mobilenet_v3_l_tanh='75.57', mobilenet_v3_l_identity='75.91'),
    **dict(mobilenet_v3_l_none='74.32', mobilenet_v3_l_grn='74.37', mobilenet_v3_l_eca='74.82'),
    **dict(mobilenet_v3_l_seln='76.02', na_resnet50='77.3078', na_mobilenet_v2='72.2596'),
    **dict(patnet_t0='73.9', patnet_t1='78.1', patnet_t2='80.2'),
    **dict(patnet_s='82.1', patnet_m='83.1', patnet_l='83.9'),
    **dict(fasternet_t0='71.0', fasternet_t1='76.5', fasternet_t2='79.2'),
    **dict(fasternet_s='81.5', fasternet_m='83.0', fasternet_l='83.6'),
}
PRINTED = {
    **{f'cls/{name}_in1k.py': value for name, value in IMAGENET.items()},
    **TRANSFER,
    'mask_rcnn/selnext_t_3x_coco.py': '46.7 / 42.4',
    'mask_rcnn/mobilenet_v3_l_se_1x_coco.py': '30.5 / 29.6',
    'mask_rcnn/mobilenet_v3_l_seln_1x_coco.py': '31.1 / 29.9',
    'mask_rcnn/patnet_s_1x_coco.py': '42.7 / 39.3',
    'mask_rcnn/patnet_m_1x_coco.py': '44.3 / 40.6',
    'mask_rcnn/patnet_l_1x_coco.py': '44.7 / 41.0',
    'mask_rcnn/swin_t_3x_coco.py': '46.0 / 41.6',
    'mask_rcnn/convnext_t_3x_coco.py': '46.2 / 41.7',
    'mask_rcnn/fasternet_s_1x_coco.py': '39.9 / 36.9',
    'mask_rcnn/fasternet_m_1x_coco.py': '43.0 / 39.1',
    'mask_rcnn/fasternet_l_1x_coco.py': '44.0 / 39.9',
    'cascade_mask_rcnn/swin_t_3x_coco.py': '50.4 / 43.7',
    'cascade_mask_rcnn/swin_s_3x_coco.py': '51.9 / 45.0',
    'cascade_mask_rcnn/swin_b_3x_coco.py': '51.9 / 45.0',
    'cascade_mask_rcnn/convnext_t_3x_coco.py': '50.4 / 43.7',
    'cascade_mask_rcnn/convnext_s_3x_coco.py': '51.9 / 45.0',
    'cascade_mask_rcnn/convnext_b_3x_coco.py': '52.7 / 45.6',
    'cascade_mask_rcnn/selnext_t_3x_coco.py': '51.0 / 44.4',
    'cascade_mask_rcnn/selnext_s_3x_coco.py': '52.3 / 45.4',
    'cascade_mask_rcnn/selnext_b_3x_coco.py': '52.5 / 45.6',
    'retinanet/r50_2x_coco.py': '36.2',
    'retinanet/se_r50_2x_coco.py': '37.4',
    'retinanet/na_r50_2x_coco.py': '37.3',
    'cascade_rcnn/r50_2x_coco.py': '40.6',
    'cascade_rcnn/gc_r50_2x_coco.py': '41.1',
    'cascade_rcnn/na_r50_2x_coco.py': '42.6',
}
