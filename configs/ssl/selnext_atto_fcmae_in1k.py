# long name: selnext-atto_32xb128-fcmae-1600e_in1k
_base_ = './selnext_t_fcmae_in1k.py'

model = dict(backbone=dict(arch='atto'))
