# long name: fasternet-m_16xb128-multires-randaug-m7-clip1_in1k
_base_ = './patnet_m_in1k.py'

model = dict(backbone=dict(type='FasterNet'), neck=dict(in_channels=1152))
