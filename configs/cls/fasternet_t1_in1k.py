# long name: fasternet-t1_32xb128-multires-randaug-m3_in1k
_base_ = './patnet_t1_in1k.py'

model = dict(backbone=dict(type='FasterNet'), neck=dict(in_channels=512))
