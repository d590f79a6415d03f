_base_ = 'mmdet::_base_/default_runtime.py'

default_hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=3, every_minutes=30),
    finite_loss=dict(type='FiniteLossHook'),
)
# Seconds: the other processes wait while the first one evaluates 5000 images.
env_cfg = dict(dist_cfg=dict(backend='nccl', timeout=7200))
randomness = dict(seed=0)
