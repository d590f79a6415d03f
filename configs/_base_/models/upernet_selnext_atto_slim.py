# The same for 224x224 images of six classes and background: SELNeXt-atto, 64-channel heads.
_base_ = './upernet_selnext.py'

model = dict(
    data_preprocessor=dict(size=(224, 224)),
    backbone=dict(arch='atto'),
    decode_head=dict(in_channels=[40, 80, 160, 320], channels=64, num_classes=7),
    auxiliary_head=dict(in_channels=160, channels=64, num_classes=7),
    test_cfg=dict(_delete_=True, mode='whole'),
)
