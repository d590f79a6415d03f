# long name: fasternet-s_32xb128-multires-randaug-m7_in1k
_base_ = './patnet_s_in1k.py'

model = dict(backbone=dict(type='FasterNet'), neck=dict(in_channels=1024))
