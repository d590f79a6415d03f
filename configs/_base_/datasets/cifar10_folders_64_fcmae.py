# The 50,000 training images of CIFAR-10 without labels, enlarged to 64 pixels.
_base_ = './cifar10_folders_64.py'

data_preprocessor = dict(
    _delete_=True,
    type='SelfSupDataPreprocessor',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='RandomResizedCrop',
                scale=64,
                crop_ratio_range=(0.2, 1.0),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs'),
        ]
    ),
)
val_dataloader = val_evaluator = test_dataloader = test_evaluator = None
