# long name: patnet-t0-srm_1xb64-100e_cifar10           (PATNet's Table 10 in small: SRM)
_base_ = './patnet_t0_cifar10.py'

model = dict(
    backbone=dict(
        mixer_cfg=dict(
            type='PartialChannelAttention', gate_cfg=dict(type='MeanStdGate', depthwise=True)
        )
    )
)
