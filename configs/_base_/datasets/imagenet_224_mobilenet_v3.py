# ImageNet-1k at 224x224 with Table 1's augmentation for MobileNetV3; 2 processes x 512 = 1024.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'

bgr_mean, bgr_std = _base_.bgr_mean, _base_.bgr_std

# timm's "rand-m9-mstd0.5" without "-inc1": the strength of posterize and solarize falls with the
# level, and the colour factors run from 0.1 to 1.9. mmpretrain's preset is the "-inc1" list.
factor = dict(magnitude_range=(-0.9, 0.9), random_negative_prob=0.0)
policies = [
    dict(type='AutoContrast'),
    dict(type='Equalize'),
    dict(type='Invert'),
    dict(type='Rotate', magnitude_range=(0, 30)),
    dict(type='Posterize', magnitude_range=(0, 4)),
    dict(type='Solarize', magnitude_range=(0, 256)),
    dict(type='SolarizeAdd', magnitude_range=(0, 110)),
    dict(type='ColorTransform', **factor),
    dict(type='Contrast', **factor),
    dict(type='Brightness', **factor),
    dict(type='Sharpness', **factor),
    *[
        dict(type=name, magnitude_range=(0, limit), direction=direction)
        for name, limit in (('Shear', 0.3), ('Translate', 0.45))
        for direction in ('horizontal', 'vertical')
    ],
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies=policies,
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[round(x) for x in bgr_mean], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.2,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=bgr_mean,
        fill_std=bgr_std,
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=512, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=512)
test_dataloader = val_dataloader
