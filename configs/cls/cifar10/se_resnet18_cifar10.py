# long name: se-resnet18-w05_1xb64-100e_cifar10           (the NA paper's SE, half as wide)
_base_ = './resnet18_cifar10.py'

model = dict(
    backbone=dict(
        attention_cfg=dict(
            _delete_=True, type='SqueezeExcitation', reduction=16, data_format='channels_first'
        )
    )
)
