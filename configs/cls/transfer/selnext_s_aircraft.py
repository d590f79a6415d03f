# long name: selnext-s_8xb32_aircraft
_base_ = ['../../_base_/transfer/selnext_s.py', '../../_base_/datasets/aircraft_224.py']

model = dict(head=dict(num_classes=100))
