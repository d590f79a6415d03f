# long name: convnext-atto-grn_1xb64-100e_cifar10       (Table 9 in small: + GRN, no layer scale)
_base_ = './convnext_atto_cifar10.py'

model = dict(
    backbone=dict(
        attention_cfg=dict(_delete_=True, type='GlobalResponseNorm'), layer_scale_init_value=0.0
    )
)
