# long name: mobilenet-v3-l-seln_2xb512-ema_in1k                    (Tables 6 and 7: - SE + SELN)
_base_ = './mobilenet_v3_l_se_in1k.py'

model = dict(backbone=dict(attention_cfg=dict(_delete_=True, type='SELN', reduction=4, divisor=8)))
