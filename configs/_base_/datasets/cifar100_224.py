# CIFAR-100, enlarged to 224x224: 50,000 images for training, 10,000 for the test.
_base_ = './transfer_224.py'

# The images come as RGB arrays: nothing to load, nothing to swap.
data_preprocessor = dict(num_classes=100, to_rgb=False)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CIFAR100',
        data_root='data/cifar100',
        split='train',
        pipeline=_base_.train_pipeline[1:],
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CIFAR100',
        data_root='data/cifar100',
        split='test',
        pipeline=_base_.test_pipeline[1:],
    )
)
test_dataloader = val_dataloader
