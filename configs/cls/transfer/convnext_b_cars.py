# long name: convnext-b_8xb32_cars
_base_ = ['../../_base_/transfer/convnext_b.py', '../../_base_/datasets/cars_224.py']

model = dict(head=dict(num_classes=196))
