"""Every part of a config is found, whatever holds it."""

import pytest
from mmengine.config import Config

from selnext_mm.config import walk


def data(name, **more):
    return dict(type='CocoDataset', ann_file=f'{name}.json', **more)


def train(dataset):
    return Config(dict(train_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize(
    ('dataset', 'expected'),
    [
        (data('a'), ['a.json']),
        (dict(type='RepeatDataset', times=2, dataset=data('a')), ['a.json']),
        (dict(type='ConcatDataset', datasets=[data('a'), data('b')]), ['a.json', 'b.json']),
        (
            dict(
                type='MultiImageMixDataset',
                dataset=dict(type='ClassBalancedDataset', dataset=data('a')),
            ),
            ['a.json'],
        ),
        ([data('a'), data('b')], ['a.json', 'b.json']),
        (dict(type='Own'), []),
    ],
)
def test_data_sets_below_their_wrappers(dataset, expected):
    found = list(walk.iter_datasets(train(dataset)))
    assert [node['ann_file'] for _, node in found] == expected
    assert {name for name, _ in found} <= {'train_dataloader'}


def test_the_inner_data_set_is_the_first():
    loader = dict(dataset=dict(type='ConcatDataset', datasets=[data('a'), data('b')]))
    assert walk.inner_dataset(loader) == data('a')
    assert walk.inner_dataset(dict(dataset=dict(type='Own'))) == dict(type='Own')
    assert walk.inner_dataset(None) == {}


def test_the_tested_data_set_is_that_of_the_test_or_of_the_validation():
    loaders = dict(val_dataloader=dict(dataset=data('v')))
    assert walk.tested_dataset(Config(loaders)) == data('v')
    loaders['test_dataloader'] = dict(dataset=data('t'))
    assert walk.tested_dataset(Config(loaders)) == data('t')


def test_metrics_alone_in_lists_and_inside_evaluators():
    coco, voc = dict(type='CocoMetric'), dict(type='VOCMetric')
    several = dict(type='MultiDatasetsEvaluator', metrics=[coco, voc])
    cfg = Config(dict(val_evaluator=[coco, voc], test_evaluator=several))
    names = [(name, metric['type']) for name, metric in walk.iter_evaluators(cfg)]
    assert names == [
        (f'{split}_evaluator', kind)
        for split in ('val', 'test')
        for kind in ('CocoMetric', 'VOCMetric')
    ]
    assert list(walk.iter_evaluator_types(cfg)) == [('test_evaluator', 'MultiDatasetsEvaluator')]
    assert list(walk.iter_evaluators(Config(dict(val_evaluator={}, test_evaluator=None)))) == []


def test_transforms_inner_ones_first_with_their_places():
    crop = dict(type='RandomCrop')
    choice = dict(type='RandomChoice', transforms=[[crop], [dict(type='Resize')]])
    albu = dict(type='Albu', transforms=[dict(type='Blur')])
    dataset = data('a', pipeline=[choice, albu])
    loader = dict(dataset=dataset, sampler=dict(type='DefaultSampler'))
    parts = list(walk.loader_parts(Config(dict(train_dataloader=loader)), 'train_dataloader'))
    assert [(place, node['type']) for place, node, _ in parts] == [
        ('train_dataloader.dataset', 'CocoDataset'),
        ('train_dataloader.dataset.pipeline.0.transforms.0.0', 'RandomCrop'),
        ('train_dataloader.dataset.pipeline.0.transforms.1.0', 'Resize'),
        ('train_dataloader.dataset.pipeline.0', 'RandomChoice'),
        ('train_dataloader.dataset.pipeline.1', 'Albu'),
        ('train_dataloader.sampler', 'DefaultSampler'),
    ]
    assert list(walk.loader_parts(Config({}), 'train_dataloader')) == []


def test_schedulers_alone_in_lists_and_by_optimizer():
    one = dict(type='LinearLR')
    for value, places in (
        (one, ['param_scheduler']),
        ([one, one], ['param_scheduler.0', 'param_scheduler.1']),
        (dict(generator=one), ['param_scheduler.generator']),
        (None, []),
    ):
        found = [place for place, _ in walk.iter_schedulers(Config(dict(param_scheduler=value)))]
        assert found == places


def test_hooks_default_and_custom():
    cfg = Config(
        dict(
            default_hooks=dict(logger=dict(type='LoggerHook'), timer=None),
            custom_hooks=[dict(type='EMAHook')],
        )
    )
    assert [hook['type'] for hook in walk.iter_hooks(cfg)] == ['LoggerHook', 'EMAHook']
