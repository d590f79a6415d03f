# Masked autoencoder: SELNeXt on the visible part of an image, a decoder of one block that predicts
# the pixels of the hidden part, normalised patch by patch.
custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    type='FCMAE',
    patch_size=32,
    mask_ratio=0.6,
    decoder_channels=512,
    decoder_depth=1,
    backbone=dict(
        type='SELNeXt',
        arch='tiny',
        layer_scale_init_value=1e-6,
        gap_before_final_norm=False,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    head=dict(
        type='MAEPretrainHead',
        norm_pix=True,
        loss=dict(type='PixelReconstructionLoss', criterion='L2'),
    ),
)
