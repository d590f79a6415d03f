# long name: patnet-t0-ch-sp_1xb64-100e_cifar10         (PATNet's Table 4 in small: PAT_ch, PAT_sp)
_base_ = './patnet_t0_cifar10.py'

model = dict(backbone=dict(last_mixer_cfg=None))
