# long name: fasternet-t0_32xb128-multires_in1k
_base_ = './patnet_t0_in1k.py'

model = dict(backbone=dict(type='FasterNet'), neck=dict(in_channels=320))
