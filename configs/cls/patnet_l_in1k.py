# long name: patnet-l_16xb128-multires-randaug-m7-clip0.01_in1k
_base_ = './patnet_m_in1k.py'

model = dict(
    backbone=dict(arch='l', drop_path_rate=0.3),
    neck=dict(in_channels=1280),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.7), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(clip_grad=dict(max_norm=0.01))
