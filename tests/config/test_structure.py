"""Parts of a config that are of another kind than their readers take."""

import pytest
from mmengine.config import Config
from mmengine.hooks import EMAHook

from selnext_mm.config.structure import check_structure
from selnext_mm.errors import UserError

HOOK = dict(type='EMAHook')


@pytest.mark.parametrize(
    ('place', 'parts'),
    [
        ('custom_hooks', dict(custom_hooks=HOOK)),
        ('custom_hooks', dict(custom_hooks='EMAHook')),
        ('custom_hooks.0', dict(custom_hooks=['EMAHook'])),
        ('custom_hooks.1', dict(custom_hooks=[HOOK, [HOOK]])),
        ('default_hooks.logger', dict(default_hooks=dict(logger='LoggerHook'))),
        ('default_hooks.logger', dict(default_hooks=dict(logger=True))),
        ('param_scheduler', dict(param_scheduler='cosine')),
        ('param_scheduler.0', dict(param_scheduler=['cosine'])),
        ('val_evaluator', dict(val_evaluator='CocoMetric')),
        ('test_evaluator.0', dict(test_evaluator=['CocoMetric'])),
        ('visualizer', dict(visualizer=[dict(type='Visualizer')])),
        ('visualizer.vis_backends', dict(visualizer=dict(vis_backends='LocalVisBackend'))),
        ('visualizer.vis_backends.0', dict(visualizer=dict(vis_backends=['LocalVisBackend']))),
        ('log_processor', dict(log_processor=[50])),
    ],
)
def test_the_place_is_named(place, parts):
    with pytest.raises(UserError, match=rf'^{place} = .*; expected a '):
        check_structure(Config(parts))


@pytest.mark.parametrize(
    'parts',
    [
        dict(custom_hooks=[HOOK, EMAHook()]),
        dict(custom_hooks=None, param_scheduler=None, val_evaluator=None, visualizer=None),
        dict(param_scheduler=dict(type='ConstantLR'), val_evaluator=dict(type='CocoMetric')),
        dict(param_scheduler=dict(generator=[dict(type='ConstantLR')])),
        dict(default_hooks=dict(logger=None), visualizer=dict(vis_backends=dict(type='A'))),
    ],
)
def test_what_mmengine_takes_passes(parts):
    check_structure(Config(parts))
