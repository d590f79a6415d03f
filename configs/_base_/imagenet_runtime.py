_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(
    checkpoint=dict(
        type='SafeCheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='auto',
        every_minutes=30,
    ),
    finite_loss=dict(type='FiniteLossHook'),
)
randomness = dict(seed=0)
