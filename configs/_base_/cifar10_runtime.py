# All of the small comparison but the backbone.
_base_ = [
    './models/cifar10_cls.py',
    './datasets/cifar10_folders_64.py',
    './schedules/cifar10_adamw_100e.py',
    './imagenet_runtime.py',
]
