# long name: selnext-t_8xb32_cars
_base_ = ['../../_base_/transfer/selnext_t.py', '../../_base_/datasets/cars_224.py']

model = dict(head=dict(num_classes=196))
