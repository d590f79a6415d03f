"""Parts of a config that should be dicts, lists, names or paths, but are something else."""

import os
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.optim import _ParamScheduler
from mmengine.visualization import BaseVisBackend

from selnext_mm.config.walk import LOADERS, iter_datasets, iter_evaluators
from selnext_mm.errors import UserError

DICTS = (
    *('model', 'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'default_hooks'),
    *('randomness', 'auto_scale_lr', 'env_cfg', 'visualizer', 'log_processor', *LOADERS),
)
# Dicts, or lists of them; hooks may also be objects.
OBJECTS = (Mapping, Hook, BaseMetric, BaseVisBackend, _ParamScheduler)
SEVERAL = ('param_scheduler', 'val_evaluator', 'test_evaluator')
# Parts whose inner types are looked up by name; models report theirs when they are built.
NAMED = (
    *('train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'param_scheduler', 'default_hooks'),
    *('custom_hooks', 'val_evaluator', 'test_evaluator', 'visualizer', *LOADERS),
)


def check_structure(cfg: Config) -> None:
    """Raise :class:`UserError` for a part of ``cfg`` that has a type which no reader accepts.

    The error names the place, the value and what is expected there.
    """
    for key in DICTS:
        _expect(cfg, key, cfg.get(key), Mapping, 'a dict')
    _expect(cfg, 'default_scope', cfg.get('default_scope'), str, 'a name, as mmdet')
    for key in NAMED:
        for place, kind in _types(cfg.get(key), key):
            if not (callable(kind) or (isinstance(kind, str) and kind)):
                _refuse(cfg, place, kind, 'the name of a class')
    for key in SEVERAL:
        _expect_dicts(cfg, key, cfg.get(key))
    _expect_dicts(cfg, 'custom_hooks', cfg.get('custom_hooks'), alone=False)
    _expect_dicts(cfg, 'visualizer.vis_backends', (cfg.get('visualizer') or {}).get('vis_backends'))
    for name, hook in (cfg.get('default_hooks') or {}).items():
        _expect(cfg, f'default_hooks.{name}', hook, Mapping | Hook, 'a dict or None')
    for loader in LOADERS:
        dataset = (cfg.get(loader) or {}).get('dataset')
        _expect(cfg, f'{loader}.dataset', dataset, Mapping, 'a dict')
    for loader, dataset in iter_datasets(cfg):
        place = f'{loader}.dataset'
        for key in ('data_root', 'ann_file'):
            _expect(cfg, f'{place}.{key}', dataset.get(key), str | os.PathLike, 'a path')
        _expect(cfg, f'{place}.pipeline', dataset.get('pipeline'), list | tuple, 'a list')
        _expect(cfg, f'{place}.metainfo', dataset.get('metainfo'), Mapping, 'a dict')
        prefix = dataset.get('data_prefix')
        _expect(cfg, f'{place}.data_prefix', prefix, Mapping | str, 'a dict or a path')
        for key, value in prefix.items() if isinstance(prefix, Mapping) else ():
            _expect(cfg, f'{place}.data_prefix.{key}', value, str | os.PathLike, 'a path')
    for name, metric in iter_evaluators(cfg):
        kinds = metric.get('metric')
        _expect(cfg, f'{name}.metric', kinds, str | list | tuple, 'a name or a list of names')
        _expect(cfg, f'{name}.ann_file', metric.get('ann_file'), str | os.PathLike, 'a path')


def _types(node, place: str) -> Iterator[tuple[str, object]]:
    """(place, value) of every ``type`` inside ``node`` that is set."""
    if isinstance(node, Mapping):
        if node.get('type') is not None:
            yield f'{place}.type', node['type']
        items = list(node.items())
    else:
        items = list(enumerate(node)) if isinstance(node, list | tuple) else []
    for key, value in items:
        yield from _types(value, f'{place}.{key}')


def _expect_dicts(cfg: Config, place: str, value, alone: bool = True) -> None:
    """Expect a list of dicts; also a single dict if ``alone``, or dicts by name."""
    what = f'a list of dicts: {place}=[dict(type=...), ...]'
    _expect(cfg, place, value, Mapping | list | tuple if alone else list | tuple, what)
    for i, item in enumerate(value if isinstance(value, list | tuple) else ()):
        if not isinstance(item, OBJECTS):
            _refuse(cfg, f'{place}.{i}', item, 'a dict(type=..., ...)')


def _expect(cfg: Config, place: str, value, kind, what: str) -> None:
    if value is not None and not isinstance(value, kind):
        _refuse(cfg, place, value, what)


def _refuse(cfg: Config, place: str, value, what: str) -> None:
    raise UserError(f'{place} = {value!r} in {cfg.filename}; expected {what}')
