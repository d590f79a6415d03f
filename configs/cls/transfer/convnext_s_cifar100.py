# long name: convnext-s_8xb32_cifar100
_base_ = ['../../_base_/transfer/convnext_s.py', '../../_base_/datasets/cifar100_224.py']

model = dict(head=dict(num_classes=100))
