"""Schedules that do not fit the length of a run."""

import pytest
from mmengine.config import Config

from selnext_mm.config.load import load_config
from selnext_mm.engine.preflight.schedules import schedule_warnings

WARM_UP = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500)


@pytest.mark.parametrize(
    ('scheduler', 'epochs', 'iterations', 'words'),
    [
        (WARM_UP, 5, 365, 'the warm-up takes 500 of the 365 iterations of the run (137%)'),
        (
            dict(type='CosineAnnealingLR', T_max=4, end=4),
            20,
            2000,
            'CosineAnnealingLR ends at epoch 4, the run after 20: the lr stays at its last value',
        ),
        (dict(type='CosineAnnealingLR', T_max=4), 20, 2000, 'param_scheduler.0.T_max=20'),
        (dict(type='CosineAnnealingLR', T_max=300), 20, 2000, 'never reaches its end'),
        (dict(type='MultiStepLR', milestones=[8, 11]), 5, 500, 'lowers the lr at epoch 8, 11'),
        (dict(type='CosineAnnealingLR', T_max=4, end=20), 20, 2000, 'the lr rises again after it'),
        (
            dict(type='CosineAnnealingLR', T_max=40, begin=5, end=20),
            20,
            2000,
            'takes 15 epochs (5 to 20) with T_max=40: the lr never reaches its end; set '
            'param_scheduler.0.T_max=15',
        ),
        (dict(WARM_UP, end=1), 5, 365, 'stays at 0.001 of the one given for the whole run; set'),
        (dict(type='LinearLR', end=1), 12, 1200, 'or param_scheduler.0.convert_to_iter_based=True'),
        (dict(type='StepLR', step_size=30), 12, 1200, 'StepLR lowers the lr after 30 epochs'),
        (dict(type='ExponentialLR', gamma=0.9, begin=30), 12, 1200, 'begins at epoch 30'),
        (dict(type='mmengine.PolyLR', end=100, by_epoch=False), 1, 50, 'PolyLR ends at iteration'),
    ],
)
def test_what_does_not_fit_is_told(scheduler, epochs, iterations, words):
    (warning,) = schedule_warnings(Config(dict(param_scheduler=[scheduler])), epochs, iterations)
    assert words in warning


def test_what_fits_is_not():
    one = dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True)
    assert schedule_warnings(Config(dict(param_scheduler=[one])), 12, 1200) == []
    for name, epochs in (('mask_rcnn/selnext_t_3x_coco.py', 36), ('cls/selnext_t_in1k.py', 300)):
        assert schedule_warnings(load_config(name), epochs, epochs * 7000) == []
    assert schedule_warnings(Config({}), 3, 100) == []
