# long name: convnext-t_8xb32_cifar100
_base_ = ['../../_base_/transfer/convnext_t.py', '../../_base_/datasets/cifar100_224.py']

model = dict(head=dict(num_classes=100))
