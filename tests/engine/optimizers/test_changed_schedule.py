"""A schedule changed between two parts of a run."""

import pytest

from tests.engine.resume.test_exact_resume import interrupted, resumed, run
from tests.engine.toy import At, assert_same, everything


def cosine(epochs, **changes):
    schedule = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
        dict(
            type='CosineAnnealingLR',
            by_epoch=True,
            begin=1,
            end=epochs,
            T_max=epochs - 1,
            convert_to_iter_based=True,
        ),
        dict(type='StepLR', step_size=3, gamma=0.5, by_epoch=True),
    ]
    return dict(epochs=epochs, param_scheduler=schedule, val=False, **changes)


class Rates(At):
    """The lr of each iteration."""

    def __init__(self):
        self.seen = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen[runner.iter] = runner.optim_wrapper.get_lr()['lr'][0]

    def after_train_iter(self, *args, **kwargs):
        pass


def log_of(folder):
    return '\n'.join(p.read_text() for p in folder.rglob('*.log'))


@pytest.mark.parametrize('step', [6, 11, 14])
def test_the_config_counts(tmp_path, step):
    """Prolonged from 3 to 6 epochs: after the resume, the rates of 6 epochs from the start."""
    every = dict(default_hooks=dict(checkpoint=dict(every_iters=1)))
    expected, got = Rates(), Rates()
    run(tmp_path / 'whole', hooks=[expected], **cosine(6))
    interrupted(tmp_path / 'parts', step, **cosine(3, **every))
    resumed(tmp_path / 'parts', hooks=[got], **cosine(6, **every))
    assert sorted(got.seen) == list(range(step, 30))
    for iteration, rate in got.seen.items():
        assert rate == expected.seen[iteration], iteration
    text = log_of(tmp_path / 'parts')
    assert 'the schedule was changed since the checkpoint' in text
    assert 'CosineAnnealingLR.T_max 10 -> 25' in text


def test_an_equal_one_is_not_touched(tmp_path):
    whole = everything(run(tmp_path / 'whole', **cosine(4)))
    interrupted(tmp_path / 'parts', 13, **cosine(4))
    assert_same(everything(resumed(tmp_path / 'parts', **cosine(4))), whole)
    assert 'schedule was changed' not in log_of(tmp_path / 'parts')


def test_another_lr_counts(tmp_path):
    def options(lr):
        return cosine(4, optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)))

    expected, got = Rates(), Rates()
    run(tmp_path / 'whole', hooks=[expected], **options(0.02))
    interrupted(tmp_path / 'parts', 11, **options(0.01))
    resumed(tmp_path / 'parts', hooks=[got], **options(0.02))
    assert got.seen == {i: r for i, r in expected.seen.items() if i >= 10}


def test_another_number_of_schedulers_counts(tmp_path):
    fewer, more = cosine(4), cosine(4)
    fewer['param_scheduler'] = fewer['param_scheduler'][:1]
    expected, got = Rates(), Rates()
    run(tmp_path / 'whole', hooks=[expected], **more)
    interrupted(tmp_path / 'parts', 11, **fewer)
    resumed(tmp_path / 'parts', hooks=[got], **more)
    assert got.seen == {i: r for i, r in expected.seen.items() if i >= 10}


def plateau(**changes):
    """Every evaluation is a bad one."""
    schedule = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
        dict(
            **dict(type='ReduceOnPlateauLR', monitor='acc', rule='greater', patience=0),
            **dict(threshold=1e9, threshold_rule='abs', **changes),
        ),
    ]
    return dict(epochs=5, train_cfg=dict(val_interval=1), param_scheduler=schedule)


def test_what_a_plateau_has_counted_is_no_change(tmp_path):
    whole = everything(run(tmp_path / 'whole', **plateau()))
    interrupted(tmp_path / 'parts', 18, **plateau())
    assert_same(everything(resumed(tmp_path / 'parts', **plateau())), whole)
    assert 'schedule was changed' not in log_of(tmp_path / 'parts')


def test_other_settings_of_a_plateau_keep_the_lr_that_it_has_reached(tmp_path):
    got = Rates()
    interrupted(tmp_path, 18, **plateau())
    resumed(tmp_path, hooks=[got], **plateau(factor=0.5))
    assert 'ReduceOnPlateauLR.factor 0.1 -> 0.5' in log_of(tmp_path)
    assert got.seen[15] == pytest.approx(0.01 * 0.1**2)
    assert got.seen[20] == pytest.approx(got.seen[15] * 0.5)
