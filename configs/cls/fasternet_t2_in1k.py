# long name: fasternet-t2_32xb128-multires-randaug-m5_in1k
_base_ = './patnet_t2_in1k.py'

model = dict(backbone=dict(type='FasterNet'), neck=dict(in_channels=768))
