"""Numbers and types of a config: what is wrong is told, what we ship is right."""

import pytest
from mmengine.config import Config

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves
from selnext_mm.engine.preflight.values import check_numbers, check_types, misspelt_keys
from selnext_mm.errors import UserError
from tests.mmseg import skip_without_mmseg

# The first leaf of every folder: each has data sets, hooks and schedules of its own.
LEAVES = list({name.rpartition('/')[0]: name for name in reversed(config_leaves())}.values())


@pytest.mark.parametrize('name', LEAVES)
def test_our_own_configs_pass(name):
    skip_without_mmseg(name)
    cfg = load_config(name)
    assert misspelt_keys(cfg) == []
    check_numbers(cfg)
    check_types(cfg)


def test_every_folder_is_among_them():
    assert len(LEAVES) >= 7


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('train_dataloader.batch_size', True),
        ('train_dataloader.batch_size', '2'),
        ('val_dataloader.num_workers', -1),
        ('train_cfg.max_epochs', 1.5),
        ('train_cfg.val_interval', 0),
        ('optim_wrapper.optimizer.lr', float('nan')),
        ('optim_wrapper.optimizer.lr', None),
        ('optim_wrapper.accumulative_counts', 0),
        ('default_hooks.logger.interval', 0),
        ('randomness.seed', 2**32),
        ('auto_scale_lr.base_batch_size', 0),
        ('auto_scale_lr', {'enable': True}),
        ('log_level', 'LOUD'),
    ],
)
def test_numbers_that_no_run_can_use(path, value):
    node = value
    for key in reversed(path.split('.')):
        node = {key: node}
    cfg = Config(node)
    if value is None:
        check_numbers(cfg)
        return
    with pytest.raises(UserError, match=path):
        check_numbers(cfg)


@pytest.mark.parametrize(
    ('place', 'parts'),
    [
        (
            'visualizer.vis_backends.1',
            dict(
                visualizer=dict(
                    type='Visualizer',
                    vis_backends=[dict(type='LocalVisBackend'), dict(type='LocalVisBackendd')],
                )
            ),
        ),
        ('val_dataloader.collate_fn', dict(val_dataloader=dict(collate_fn=dict(type='colate')))),
        ('log_processor', dict(log_processor=dict(type='LogProcesor'))),
        ('runner_type', dict(runner_type='Runer')),
    ],
)
def test_types_that_only_a_run_looks_up(place, parts):
    with pytest.raises(UserError, match=rf'^{place}: type .* is registered nowhere'):
        check_types(Config(parts))


def test_types_inside_wrappers_and_nested_pipelines_are_seen():
    pipeline = [dict(type='RandomChoice', transforms=[[dict(type='RandomFilp')]])]
    inner = dict(type='CocoDataset', pipeline=pipeline)
    loader = dict(dataset=dict(type='ConcatDataset', datasets=[inner]))
    cfg = Config(dict(default_scope='mmdet', train_dataloader=loader))
    place = r'train_dataloader\.dataset\.datasets\.0\.pipeline\.0\.transforms\.0\.0'
    with pytest.raises(UserError, match=rf"{place}: type 'RandomFilp'.*did you mean RandomFlip"):
        check_types(cfg)


def test_classes_in_place_of_names_are_left_alone():
    check_types(Config(dict(train_dataloader=dict(dataset=dict(type=dict)))))


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        (dict(type='SELNext'), 'did you mean SELNeXt'),
        (dict(type='SELNeXt', arch='huge'), 'arch'),
        (dict(type='SELNeXt', deep=1), "unexpected keyword argument 'deep'"),
        (dict(arch='tiny'), 'type'),
    ],
)
def test_a_model_that_cannot_be_built_is_one_message(model, words):
    with pytest.raises(UserError, match=words) as caught:
        build_model(Config(dict(model=model)))
    assert '\n' not in str(caught.value)


def test_a_key_that_nothing_reads_is_told_if_it_looks_like_one_that_is_read():
    cfg = Config(dict(model={}, modle=dict(backbone={}), my_classes=('a',), train_pipeline=[]))
    (warning,) = misspelt_keys(cfg)
    assert "'modle'; did you mean 'model'?" in warning
