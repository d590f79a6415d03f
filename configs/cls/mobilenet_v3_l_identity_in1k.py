# long name: mobilenet-v3-l-identity_2xb512-ema_in1k                (Table 6: identity in place of hard-sigmoid)
_base_ = './mobilenet_v3_l_se_in1k.py'

model = dict(backbone=dict(attention_cfg=dict(gate='identity')))
