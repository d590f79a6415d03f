# long name: selnext-b_8xb32_cars
_base_ = './selnext_t_cars.py'

pretrained = None  # ImageNet-1k weights, e.g. a checkpoint of cls/selnext_b_in1k.py

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint=pretrained)), head=dict(in_channels=1024)
)
