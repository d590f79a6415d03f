# long name: convnext-t_8xb32_flowers102
_base_ = ['../../_base_/transfer/convnext_t.py', '../../_base_/datasets/flowers102_224.py']

model = dict(head=dict(num_classes=102))
