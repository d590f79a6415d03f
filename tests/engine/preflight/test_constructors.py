"""Arguments that the runner's parts do not take; a run's messages: tests/messages/bad_input.py."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves
from selnext_mm.engine.optimizers import amp
from selnext_mm.engine.preflight import constructors
from selnext_mm.engine.preflight.constructors import check_arguments, check_metrics
from selnext_mm.engine.preflight.values import check_types
from selnext_mm.engine.safe_defaults import make_safe
from selnext_mm.errors import UserError
from tests.mmseg import skip_without_mmseg

LEAVES = list({name.rpartition('/')[0]: name for name in reversed(config_leaves())}.values())


@pytest.mark.parametrize('name', LEAVES)
def test_our_own_configs_pass(name):
    skip_without_mmseg(name)
    cfg = load_config(name)
    make_safe(cfg)
    with torch.device('meta'):
        model = build_model(cfg)
    before = cfg.to_dict()
    check_arguments(cfg, model)
    assert cfg.to_dict() == before


def small(**parts):
    """A config with ``parts``, and a model for it."""
    cfg = dict(
        model=dict(type='Linear'),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
    )
    return Config({**cfg, **parts}), nn.Linear(2, 2)


def refused(words, **parts):
    with pytest.raises(UserError, match=words) as caught:
        check_arguments(*small(**parts))
    assert '\n' not in str(caught.value)


def test_weights_and_logging_are_as_before():
    cfg, model = small(param_scheduler=dict(type='MultiStepLR', milestones=[1]))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    check_arguments(cfg, model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert logging.root.manager.disable == 0
    with pytest.raises(UserError):
        check_arguments(*small(param_scheduler=dict(type='MultiStepLR')))
    assert logging.root.manager.disable == 0


@pytest.mark.parametrize('device', ['cpu', 'mps'])
def test_mixed_precision_passes_where_it_becomes_float32(monkeypatch, device):
    for module in (amp, constructors):
        monkeypatch.setattr(module, 'get_device', lambda: device)
    wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    check_arguments(*small(optim_wrapper=wrapper))


def test_schedules_that_count_iterations_need_no_end():
    check_arguments(*small(param_scheduler=[dict(type='LinearLR', by_epoch=False, begin=500)]))
    converted = dict(type='CosineAnnealingLR', T_max=2, by_epoch=True, convert_to_iter_based=True)
    check_arguments(*small(param_scheduler=converted))
    refused('param_scheduler of.*milestones', param_scheduler=dict(type='MultiStepLR'))


def test_what_is_built_in_other_ways_is_left_alone():
    hook = Hook()
    check_arguments(*small(custom_hooks=[hook], default_hooks=dict(logger=None)))

    @HOOKS.register_module(name='OpenHook', force=True)
    class OpenHook(Hook):
        def __init__(self, **kwargs):
            raise AssertionError('hooks are not built before the run')

    check_arguments(*small(custom_hooks=[dict(type='OpenHook', a=1, priority='LOW')]))
    refused(r"custom_hooks\.0 of.*'b'", custom_hooks=[dict(type=Hook, b=1)])


@pytest.mark.parametrize(
    ('words', 'parts'),
    [
        (
            r'default_hooks\.checkpoint of.*Cannot infer the rule',
            dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best='a/nope'))),
        ),
        (
            "custom_hooks.0 of.*priority is 'FIRST'; expected 0 to 100, or one of HIGHEST",
            dict(custom_hooks=[dict(type='EMAHook', priority='FIRST')]),
        ),
        (
            'custom_hooks.0 of.*priority is 101',
            dict(custom_hooks=[dict(type='EMAHook', priority=101)]),
        ),
        (
            r'train_cfg of.*dynamic_intervals is \[1, 2\]; expected a list of pairs',
            dict(
                train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2, dynamic_intervals=[1, 2])
            ),
        ),
        (
            'train_dataloader of.*mutually exclusive',
            dict(
                train_dataloader=dict(
                    batch_size=2,
                    drop_last=True,
                    batch_sampler=dict(type='mmdet.AspectRatioBatchSampler'),
                )
            ),
        ),
        (
            'train_dataloader of.*prefetch_factor',
            dict(train_dataloader=dict(batch_size=2, num_workers=0, prefetch_factor=4)),
        ),
    ],
)
def test_rules_that_only_a_run_applies(words, parts):
    refused(words, **parts)


def test_workers_that_the_run_will_have_are_not_started(recwarn):
    loader = dict(batch_size=2, num_workers=500, persistent_workers=True, prefetch_factor=2)
    check_arguments(*small(train_dataloader=loader))
    check_arguments(*small(train_dataloader=dict(batch_size=1, persistent_workers=True)))
    assert not recwarn.list


def test_the_annotation_file_of_a_metric_is_not_read():
    pytest.importorskip('mmdet')
    metric = dict(type='mmdet.CocoMetric', ann_file='/no/such/file.json', metric='bbox')
    check_arguments(*small(val_evaluator=metric))
    refused("val_evaluator of.*metric='area'", val_evaluator=[{**metric, 'metric': 'area'}])


SHORT = dict(type='mmdet.CocoMetric', metric='bbox')
COCO = dict(SHORT, ann_file='/no/such/file.json')


@pytest.mark.parametrize(
    ('metric', 'words'),
    [
        (dict(COCO, metric=['bbox', 'area']), 'area'),
        (dict(COCO, format_only=True), 'outfile_prefix'),
        (dict(COCO, metric_items=['mAP', 'AP']), "metric_items has 'AP'; choose from mAP,"),
        (dict(COCO, proposal_nums=(10,)), r'proposal_nums is \[10\].*three numbers'),
        (dict(type='mmdet.VOCMetric', eval_mode='12points'), 'Unrecognized mode'),
        (SHORT, 'ann_file is missing'),
    ],
)
def test_metrics_of_a_test(metric, words):
    pytest.importorskip('mmdet')
    cfg, _ = small(test_evaluator=[metric])
    with pytest.raises(UserError, match=f'test_evaluator of.*{words}'):
        check_metrics(cfg, 'test_evaluator')


def test_metrics_that_score_or_write():
    pytest.importorskip('mmdet')
    items = dict(COCO, metric_items=['mAP', 'AR@100'], proposal_nums=(1, 10, 100))
    fast = dict(COCO, metric='proposal_fast', proposal_nums=(10,))
    check_metrics(small(test_evaluator=[COCO, items, fast])[0], 'test_evaluator')
    check_metrics(small(test_evaluator=dict(COCO, format_only=True))[0], 'test_evaluator', True)
    pack = dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'instances'))
    loader = dict(dataset=dict(type='mmdet.CocoDataset', pipeline=[pack]))
    check_metrics(small(test_evaluator=SHORT, test_dataloader=loader)[0], 'test_evaluator')


def test_transforms_of_albumentations_are_its_own():
    pytest.importorskip('mmdet')
    inner = [dict(type='ShiftScaleRotate', p=0.5)]
    dataset = dict(type='CocoDataset', pipeline=[dict(type='Albu', transforms=inner)])
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))
    check_types(cfg)


def test_data_sets_are_built_without_their_data(tmp_path):
    pytest.importorskip('mmdet')
    inner = dict(type='mmdet.CocoDataset', data_root=str(tmp_path), ann_file='a.json')
    wrapped = dict(type='RepeatDataset', times=2, dataset=dict(inner, pipeline=[]))
    check_arguments(*small(train_dataloader=dict(dataset=wrapped, batch_size=1)))
    wrapped = dict(type='RepeatDataset', times=2, lasy_init=True, dataset=inner)
    refused(
        r'train_dataloader\.dataset of.*did you mean lazy_init',
        train_dataloader=dict(dataset=wrapped),
    )
    broken = dict(inner, test_moode=True)
    refused(
        r'train_dataloader\.dataset\.dataset of.*did you mean test_mode',
        train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=broken)),
    )


def test_a_long_list_of_values_is_cut():
    milestones = list(range(200))
    scheduler = dict(type='MultiStepLR', milestones=milestones, gama=0.1)
    with pytest.raises(UserError) as caught:
        check_arguments(*small(param_scheduler=scheduler))
    assert len(str(caught.value)) < 600
