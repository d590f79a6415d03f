# The shapes of "selnext-mm make-shapes" with the label maps of "selnext-mm semantic-maps".
_base_ = './ade20k_512.py'

data_root = 'data/shapes'
size = (224, 224)
metainfo = dict(
    classes=('background', 'circle', 'square', 'triangle', 'star', 'ring', 'cross'),
    palette=[
        [0, 0, 0],
        [230, 25, 75],
        [60, 180, 75],
        [255, 225, 25],
        [0, 130, 200],
        [245, 130, 48],
        [145, 30, 180],
    ],
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


def split(name, pipeline):
    return dict(
        _delete_=True,
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path=f'{name}2017', seg_map_path=f'semantic/{name}2017'),
        metainfo=metainfo,
        pipeline=pipeline,
    )


train_dataloader = dict(batch_size=4, num_workers=2, dataset=split('train', train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=2, dataset=split('val', test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = None
