# long name: convnext-b_8xb32_aircraft
_base_ = ['../../_base_/transfer/convnext_b.py', '../../_base_/datasets/aircraft_224.py']

model = dict(head=dict(num_classes=100))
