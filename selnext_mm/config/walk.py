"""Iteration over a config: its data sets, evaluators, hooks and schedulers, with their places.

This is the only code that knows how wrappers contain data sets, and where lists or dicts may
be used.
"""

from collections.abc import Iterator, Mapping

from mmengine import registry
from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = ('val_evaluator', 'test_evaluator')
OPTIMIZER = 'optim_wrapper.optimizer'


def value_at(cfg: Config, path: str):
    """Value at a dotted path; None if there is none."""
    node = cfg
    for key in path.split('.'):
        if not hasattr(node, 'get'):
            return None
        node = node.get(key)
    return node


def _wrapped(node, path: str) -> Iterator[tuple[str, dict]]:
    """(place, dict) of a data set and of all that it wraps, outer ones first."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _wrapped(item, f'{path}.{i}')
    elif isinstance(node, dict):
        yield path, node
        for key in ('dataset', 'datasets'):
            if key in node:
                yield from _wrapped(node[key], f'{path}.{key}')


def iter_datasets(cfg: Config, loaders=LOADERS) -> Iterator[tuple[str, dict]]:
    """(loader name, dict) of every data set that names its data, below any wrappers."""
    for name in loaders:
        loader = cfg.get(name)
        if loader:
            for _, node in _wrapped(loader.get('dataset'), name):
                if 'data_root' in node or 'ann_file' in node:
                    yield name, node


def inner_dataset(loader: Mapping | None) -> Mapping:
    """The first data set of a loader, below any wrappers; {} without one."""
    found: Mapping = {}
    for _, node in _wrapped((loader or {}).get('dataset'), ''):
        found = node
        inside = (node.get(key) for key in ('dataset', 'datasets'))
        if not any(isinstance(value, dict | list | tuple) for value in inside):
            break
    return found


def tested_dataset(cfg: Config) -> Mapping:
    """The data set of the test, or else of the validation, below any wrappers."""
    return inner_dataset(cfg.get('test_dataloader') or cfg.get('val_dataloader'))


def _pipeline(transforms, path: str) -> Iterator[tuple[str, dict, Registry]]:
    for i, transform in enumerate(transforms or ()):
        if isinstance(transform, dict):
            inner = transform.get('transforms')
            # The contents of Albumentations' wrappers are built by that library.
            foreign = str(transform.get('type')).rpartition('.')[2].startswith('Albu')
            if isinstance(inner, list | tuple) and not foreign:
                yield from _pipeline(inner, f'{path}.{i}.transforms')
            yield f'{path}.{i}', transform, registry.TRANSFORMS
        elif isinstance(transform, list | tuple):
            yield from _pipeline(transform, f'{path}.{i}')


def loader_parts(cfg: Config, loader: str) -> Iterator[tuple[str, dict, Registry]]:
    """(place, dict, registry) of a loader's data sets, transforms (inner ones first), samplers."""
    if node := cfg.get(loader):
        for place, dataset in _wrapped(node.get('dataset'), f'{loader}.dataset'):
            yield place, dataset, registry.DATASETS
            yield from _pipeline(dataset.get('pipeline'), f'{place}.pipeline')
        for key in ('sampler', 'batch_sampler'):
            if isinstance(node.get(key), dict):
                yield f'{loader}.{key}', node[key], registry.DATA_SAMPLERS


def _metrics(node) -> Iterator[dict]:
    """The metrics of an evaluator: a dict, a list, or dicts with a list ``metrics`` in them."""
    for item in node if isinstance(node, list | tuple) else [node]:
        if not isinstance(item, dict) or not item:
            continue
        if isinstance(item.get('metrics'), dict | list | tuple):
            yield from _metrics(item['metrics'])
        else:
            yield item


def iter_evaluators(cfg: Config) -> Iterator[tuple[str, dict]]:
    """(key, dict) of every metric, including those inside an ``Evaluator``."""
    for name in EVALUATORS:
        for metric in _metrics(cfg.get(name)):
            yield name, metric


def iter_evaluator_types(cfg: Config) -> Iterator[tuple[str, object]]:
    """(key, type) of every evaluator that contains metrics and has a type in the config."""
    for name in EVALUATORS:
        node = cfg.get(name)
        if isinstance(node, dict) and node.get('metrics') is not None:
            yield name, node.get('type')


def iter_schedulers(cfg: Config) -> Iterator[tuple[str, dict]]:
    """(place, dict) of every parameter scheduler."""
    nodes = cfg.get('param_scheduler') or []
    if isinstance(nodes, dict) and 'type' in nodes:
        yield 'param_scheduler', nodes
        return
    for key, node in nodes.items() if isinstance(nodes, dict) else enumerate(nodes):
        if isinstance(node, dict):
            yield f'param_scheduler.{key}', node


def iter_hooks(cfg: Config) -> Iterator[dict]:
    """All hook dicts, default and custom."""
    for hook in (*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())):
        if isinstance(hook, ConfigDict | dict):
            yield hook
