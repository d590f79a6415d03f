# long name: mobilenet-v3-l-eca_2xb512-ema_in1k                    (Table 7: - SE + ECA)
_base_ = './mobilenet_v3_l_se_in1k.py'

model = dict(backbone=dict(attention_cfg=dict(_delete_=True, type='EfficientChannelAttention')))
