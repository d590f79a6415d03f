# CIFAR-10 as folders of images (train/<class>, test/<class>): 50,000 for training, 10,000 for the
# test. They are enlarged twice after the augmentation, so that every backbone keeps its published
# stem and strides and its last map is 2x2; a stem of half the stride on 32x32 has the same maps.
data_preprocessor = dict(
    num_classes=10,
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)

classes = (
    *('airplane', 'automobile', 'bird', 'cat', 'deer'),
    *('dog', 'frog', 'horse', 'ship', 'truck'),
)
enlarge = dict(type='Resize', scale=(64, 64), interpolation='bilinear')

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,  # a batch norm cannot do with a last batch of one
    dataset=dict(
        type='CustomDataset',
        data_root='data/cifar10',
        data_prefix='train',
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            enlarge,
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        type='CustomDataset',
        data_root='data/cifar10',
        data_prefix='test',
        metainfo=dict(classes=classes),
        pipeline=[dict(type='LoadImageFromFile'), enlarge, dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
