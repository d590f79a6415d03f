"""What a run would never come to."""

import pytest
from mmengine.config import Config
from mmengine.hooks import EMAHook

from selnext_mm.engine.preflight.moments import moment_warnings

VALIDATED = dict(val_evaluator=dict(type='CocoMetric'))
BEST = dict(checkpoint=dict(type='CheckpointHook', save_best='auto'))
LAST = dict(type='CheckpointHook', interval=9, save_last=False)


@pytest.mark.parametrize(
    ('parts', 'words'),
    [
        (dict(train_cfg=dict(val_begin=5), **VALIDATED), 'val_begin=5 is not reached'),
        (dict(custom_hooks=[dict(type='EMAHook', begin_epoch=4)]), 'EMAHook: begin_epoch=4'),
        (dict(custom_hooks=[dict(type='EMAHook', begin_iter=400)]), 'EMAHook: begin_iter=400'),
        (
            dict(custom_hooks=[dict(type='mmdet.PipelineSwitchHook', switch_epoch=280)]),
            'PipelineSwitchHook: switch_epoch=280 is not reached, the run ends after epoch 4',
        ),
        (dict(default_hooks=BEST), 'save_best of the checkpoint hook waits for a metric'),
        (
            dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='a')]),
            'EarlyStoppingHook waits for a metric, and the run has no validation',
        ),
        (dict(default_hooks=dict(checkpoint=LAST)), 'no checkpoint would be kept'),
        (
            dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='coco/bbox_mAP')]),
            'param_scheduler.0: ReduceOnPlateauLR waits for a metric',
        ),
    ],
)
def test_what_would_never_happen_is_told(parts, words):
    """Each of them was taken in silence."""
    (warning,) = moment_warnings(Config(parts), 4, 400)
    assert words in warning


@pytest.mark.parametrize(
    'parts',
    [
        dict(train_cfg=dict(val_begin=4), default_hooks=BEST, **VALIDATED),
        dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=400, val_begin=100), **VALIDATED),
        dict(custom_hooks=[dict(type='EMAHook', begin_epoch=3), dict(type='EMAHook')]),
        dict(default_hooks=dict(checkpoint=dict(LAST, save_last=True))),
        dict(default_hooks=dict(checkpoint=None)),
        dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='loss')]),
        dict(custom_hooks=[EMAHook(begin_epoch=9)]),
        {},
    ],
)
def test_what_happens_is_not(parts):
    assert moment_warnings(Config(parts), 4, 400) == []
