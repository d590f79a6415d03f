# long name: convnext-s_8xb32_aircraft
_base_ = ['../../_base_/transfer/convnext_s.py', '../../_base_/datasets/aircraft_224.py']

model = dict(head=dict(num_classes=100))
