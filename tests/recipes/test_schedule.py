"""The rules of docs/recipes.md for one's own labels."""

import pytest
import torch
from mmengine.registry import HOOKS, PARAM_SCHEDULERS

import selnext_mm.engine.hooks.early_stopping  # noqa: F401 - registers the hook
from selnext_mm.cli import train, train_data
from selnext_mm.recipes.resolve import default_epochs
from selnext_mm.recipes.schedule import scaled_lr, schedule_config


def test_the_lr_follows_the_square_root_of_the_batch():
    assert scaled_lr(1e-3, 4, 4) == 1e-3
    assert scaled_lr(1e-3, 16, 4) == 2e-3
    assert scaled_lr(1e-3, 2, 4) == pytest.approx(7.1e-4)


@pytest.mark.parametrize(('images', 'epochs'), [(205, 18), (10, 300), (100_000, 12), (45, 80)])
def test_few_images_are_seen_more_often(images, epochs):
    assert default_epochs(images, 3600) == epochs


def make(epochs=20, images=200, batch=2, patience=0):
    return schedule_config(images, batch, epochs, 1e-3, 'coco/bbox_mAP', patience, 1.0)


@pytest.mark.parametrize('epochs', [1, 7, 20, 300])
def test_the_schedule_stretches_with_the_epochs(epochs):
    cfg = make(epochs)
    warmup, cosine = cfg['param_scheduler']
    assert cfg['train_cfg']['max_epochs'] == cosine['end'] == cosine['T_max'] == epochs
    assert warmup['end'] == min(500, 10 * epochs)  # a tenth of 100 iterations an epoch
    assert cfg['train_cfg']['val_interval'] == -(-epochs // 10)
    assert cfg['default_hooks']['checkpoint']['interval'] == cfg['train_cfg']['val_interval']


@pytest.mark.parametrize('iterations', [1, 5, 14, 15, 30, 200])
def test_the_lr_reaches_the_one_given(iterations):
    """Of runs of every length: mmengine's LinearLR over one iteration never rises."""
    cfg = schedule_config(2 * iterations, 2, 1, 1e-3, 'coco/bbox_mAP', 0, 1.0)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    schedulers = []
    for node in cfg['param_scheduler']:
        node = dict(node)
        if node.pop('convert_to_iter_based', False):
            kind = PARAM_SCHEDULERS.get(node.pop('type'))
            built = kind.build_iter_from_epoch(optimizer, epoch_length=iterations, **node)
        else:
            built = PARAM_SCHEDULERS.build(dict(node, optimizer=optimizer))
        schedulers.append(built)
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) > 0.9e-3


def test_patience_counts_evaluations():
    assert make(patience=0)['custom_hooks'][0]['type'] == 'EMAHook'
    stop = make(epochs=40, patience=10)['custom_hooks'][-1]
    assert (stop['type'], stop['patience']) == ('ResumableEarlyStoppingHook', 3)  # every 4 epochs


@pytest.mark.parametrize(
    ('command', 'counted'),
    [
        (train_data, 'this many epochs without improvement, up to a whole evaluation'),
        (train, 'this many evaluations without improvement (with --data: epochs)'),
    ],
)
def test_the_help_says_what_patience_counts(command, counted, capsys):
    with pytest.raises(SystemExit):
        command.parse_args(['--help'])
    assert counted in ' '.join(capsys.readouterr().out.split())


def test_a_run_that_still_gets_better_is_not_stopped():
    # Validations of a run on blood cells, which mmengine's least gain of 0.1 ended here.
    rising = [0.084, 0.452, 0.493, 0.513, 0.532, 0.540, 0.546]
    stop = HOOKS.build(make(epochs=30, patience=15)['custom_hooks'][-1])
    assert stop.patience == 5
    checks = [stop._check_stop_condition(score)[0] for score in [*rising, *[0.546] * 5]]
    assert checks == [False] * 11 + [True]


def test_only_small_sets_are_averaged():
    assert make(images=2000)['custom_hooks'] == []
    assert make(images=1999)['custom_hooks'][0]['momentum'] == pytest.approx(0.01)
    # An average that begins with random weights must be able to forget them in a short run.
    assert make(images=4, epochs=3)['custom_hooks'][0]['momentum'] == 0.5
