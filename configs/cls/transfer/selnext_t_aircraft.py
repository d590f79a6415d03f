# long name: selnext-t_8xb32_aircraft
_base_ = ['../../_base_/transfer/selnext_t.py', '../../_base_/datasets/aircraft_224.py']

model = dict(head=dict(num_classes=100))
