# Stanford Cars: 8,144 images for training, 8,041 for the test.
_base_ = './transfer_224.py'

data_preprocessor = dict(num_classes=196)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='StanfordCars',
        data_root='data/cars',
        split='train',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='StanfordCars',
        data_root='data/cars',
        split='test',
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
