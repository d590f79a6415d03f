# long name: convnext-b_8xb32_flowers102
_base_ = ['../../_base_/transfer/convnext_b.py', '../../_base_/datasets/flowers102_224.py']

model = dict(head=dict(num_classes=102))
