# long name: fasternet-l_16xb128-multires-randaug-m7-clip0.01_in1k
_base_ = './patnet_l_in1k.py'

model = dict(backbone=dict(type='FasterNet'), neck=dict(in_channels=1536))
