# FGVC-Aircraft, 100 variants: 6,667 images for training (its train and val), 3,333 for the test.
_base_ = './transfer_224.py'

data_preprocessor = dict(num_classes=100)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FGVCAircraft',
        data_root='data/aircraft',
        split='trainval',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FGVCAircraft',
        data_root='data/aircraft',
        split='test',
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
