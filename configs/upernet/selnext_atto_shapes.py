# long name: upernet_selnext-atto_64_shapes-224                   (trains on two CPU cores)
_base_ = [
    '../_base_/models/upernet_selnext_atto_slim.py',
    '../_base_/datasets/shapes_semantic.py',
    '../_base_/schedules/shapes_adamw_400i.py',
    '../_base_/mmseg_runtime.py',
]

default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200))
