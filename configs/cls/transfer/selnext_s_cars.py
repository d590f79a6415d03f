# long name: selnext-s_8xb32_cars
_base_ = './selnext_t_cars.py'

pretrained = None  # ImageNet-1k weights, e.g. a checkpoint of cls/selnext_s_in1k.py

model = dict(backbone=dict(arch='small', init_cfg=dict(checkpoint=pretrained)))
