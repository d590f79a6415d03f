# long name: selnext-s_8xb32_cifar100
_base_ = ['../../_base_/transfer/selnext_s.py', '../../_base_/datasets/cifar100_224.py']

model = dict(head=dict(num_classes=100))
