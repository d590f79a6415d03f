"""Wrong arguments that would end a run with a traceback, reported before anything is written.

What is cheap and without side effects is built here as the runner will build it: optimizer,
schedulers, transforms, metrics, OpenMMLab's hooks, data sets without their data. Loops, samplers
and loaders need the runner, and building third-party hooks may do anything. Of these only the
argument names and some known rules are checked.
"""

import copy
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from mmengine import registry
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Priority, Runner
from torch import nn
from torch.utils.data import DataLoader

from selnext_mm.config.build import near_parameter, quiet
from selnext_mm.config.walk import OPTIMIZER, iter_evaluators, iter_schedulers, loader_parts
from selnext_mm.engine.device import has_amp
from selnext_mm.engine.preflight.monitors import COCO, COCO_GIVEN
from selnext_mm.errors import UserError

# What a constructor raises for wrong arguments, or for a missing package or file.
WRONG = (TypeError, LookupError, ValueError, AttributeError, AssertionError, ImportError, OSError)
# Keys of a loader that mmengine removes before it passes the rest to torch's class.
NOT_TORCHS = (
    *('dataset', 'sampler', 'batch_sampler', 'num_batch_per_epoch', 'collate_fn'),
    *('worker_init_fn', 'disable_subprocess_warning'),
)
NEED_GROUP = ('ZeroRedundancyOptimizer',)  # optimizers that need the other processes
# The items that mmdet's CocoMetric can list.
COCO_ITEMS = (
    *COCO_GIVEN,
    *('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000'),
)
STACK = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg', 'selnext_mm')
EPOCH_LENGTH = 1000  # iterations; a stand-in, as the data have not been read


def _name(kind) -> str:
    return kind if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))


def _values(node: Mapping) -> str:
    """The plain values of ``node``, as many as fit into a line."""
    plain = (f'{k}={v!r}' for k, v in _arguments(node).items() if not isinstance(v, Mapping))
    text = ', '.join(plain)
    return text if len(text) <= 160 else f'{text[:157]}...'


@contextmanager
def _told(cfg: Config, place: str, node: Mapping, known: Callable | None = None) -> Iterator[None]:
    """Turn what a constructor raises into one :class:`UserError`: place, value, remedy."""
    try:
        yield
    except WRONG as error:
        # str() of a KeyError is a repr.
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        text = re.sub(r'\s+', ' ', text).strip(' .')
        text += near_parameter(known, text)
        name = _name(node.get('type') or known)
        raise UserError(
            f'{place} of {cfg.filename}: {name}({_values(node)}) cannot be built: '
            f'{type(error).__name__}: {text}. Correct it in the config, or with --cfg-options '
            f'{place}.KEY=VALUE'
        ) from error


def _arguments(node: Mapping) -> dict:
    """A copy of the constructor's arguments: ``node`` without the registry's keys."""
    return {k: copy.deepcopy(v) for k, v in node.items() if k not in ('type', '_scope_')}


def _find(known: Registry, node: Mapping) -> Callable | None:
    """The class or function that the ``type`` of ``node`` refers to in its scope."""
    if not isinstance(node.get('type'), str):
        return node.get('type')
    with known.switch_scope_and_registry(node.get('_scope_')) as scoped:
        return scoped.get(node['type'])


def _bind(known: Callable, arguments: Mapping, **given: Any) -> None:
    """Raise TypeError if ``known`` does not accept ``arguments`` in addition to ``given``."""
    try:
        signature = inspect.signature(known)
    except ValueError:  # compiled: no signature
        return
    # If the class does not accept what mmengine passes, the config is not to blame.
    taken = {k: v for k, v in given.items() if k in signature.parameters}
    signature.bind(**{**taken, **arguments})
    # Our loops pass unnamed arguments on to their base class; other classes may not.
    ours = 'selnext_mm.engine.resume.loops'
    if isinstance(known, type) and known.__module__.startswith(ours):
        own = {k: v for k, v in arguments.items() if k not in signature.parameters}
        names = set(signature.parameters) & {**arguments, **given}.keys()
        _bind(known.__bases__[-1], own, **dict.fromkeys(names | given.keys()))


def _check_dataset(known: Callable, node: Mapping) -> None:
    if 'dataset' in node or 'datasets' in node or not inspect.isclass(known):
        _bind(known, _arguments(node))
    elif issubclass(known, BaseDataset):
        registry.DATASETS.build({**copy.deepcopy(node), 'lazy_init': True, 'pipeline': []})


def _check_metric(known: Callable, node: Mapping) -> None:
    """Build a metric, if possible without reading its annotation file."""
    own: Any = copy.deepcopy(node)
    coco = any(cls.__name__ == 'CocoMetric' for cls in getattr(known, '__mro__', ()))
    for cls in getattr(known, '__mro__', ()):
        parameter = inspect.signature(cls.__init__).parameters.get('ann_file')
        if parameter is not None and parameter.default is None:
            own.pop('ann_file', None)
    try:
        built = registry.METRICS.build(own)
    except RuntimeError as error:  # of a package that is missing
        raise ImportError(str(error)) from error
    if coco:
        _check_coco(built)


def _check_coco(metric) -> None:
    """Raise ValueError for what mmdet's metric would report only after the last image."""
    wrong = [item for item in metric.metric_items or () if item not in COCO_ITEMS]
    if wrong:
        raise ValueError(f'metric_items has {wrong[0]!r}; choose from {", ".join(COCO_ITEMS)}')
    if len(metric.proposal_nums) < 3 and set(metric.metrics) != {'proposal_fast'}:
        raise ValueError(
            f'proposal_nums is {metric.proposal_nums}; pycocotools wants three numbers, as '
            '(100, 300, 1000)'
        )


def _gives_instances(cfg: Config, loader: str) -> bool:
    """Whether a loader's transforms pass on the labels, for a metric without an annotation file."""
    return any(
        'instances' in (node.get('meta_keys') or ()) for _, node, _ in loader_parts(cfg, loader)
    )


def check_metrics(cfg: Config, evaluator: str, writes: bool = False) -> None:
    """Raise :class:`UserError` for metrics of ``evaluator`` that cannot be built or computed.

    Args:
        cfg: a config whose types have been checked.
        evaluator: ``val_evaluator`` or ``test_evaluator``.
        writes: the output paths of the metrics are set later.
    """
    with (
        quiet(logging.WARNING),
        DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')),
    ):
        for place, node in iter_evaluators(cfg):
            if place != evaluator or not (known := _find(registry.METRICS, node)):
                continue
            told = {**node, 'outfile_prefix': 'results'} if writes else node
            with _told(cfg, place, node, known):
                _check_metric(known, told if node.get('format_only') else node)
                loader = f'{evaluator.removesuffix("_evaluator")}_dataloader'
                needs_file = getattr(known, '__name__', '') in COCO
                if needs_file and not node.get('ann_file') and not _gives_instances(cfg, loader):
                    raise ValueError(
                        'ann_file is missing; name the annotation file of the data set'
                    )


def _check_loader(cfg: Config, loader: str) -> None:
    for place, node, known in loader_parts(cfg, loader):
        kind = _find(known, node)
        if kind is None:
            continue
        with _told(cfg, place, node, kind):
            if known is registry.TRANSFORMS:
                try:
                    known.build(copy.deepcopy(node))
                except RuntimeError as error:  # of a package that is missing
                    raise ImportError(str(error)) from error
            elif known is registry.DATASETS:
                _check_dataset(kind, node)
            elif place.endswith('.sampler'):
                _bind(kind, _arguments(node), dataset=None, seed=None)
            else:
                _bind(kind, _arguments(node), sampler=None, batch_size=1)
    if node := cfg.get(loader):
        with _told(cfg, loader, node, DataLoader):
            rest = {k: v for k, v in node.items() if k not in NOT_TORCHS}
            _bind(DataLoader, rest, dataset=None)
            _check_torchs_rules(node, rest)


def _check_torchs_rules(node: Mapping, rest: dict) -> None:
    """Raise ValueError for incompatible arguments of a loader; no worker is started."""
    if rest.get('num_workers'):
        rest['num_workers'] = 1  # torch would warn of more than the machine has, twice
    else:
        rest['persistent_workers'] = False  # as adapt_to_device() will
    given: dict[str, Any] = dict(sampler=[0])
    if node.get('batch_sampler'):
        # mmengine removes it and passes it to the batch sampler.
        rest.pop('batch_size', None)
        given = dict(batch_sampler=[[0]])
    DataLoader([0], **{**rest, **given})


def _check_optimizer(cfg: Config, model: nn.Module) -> None:
    """Build optimizer and schedulers for ``model``, whose weights stay unchanged."""
    node = cfg.optim_wrapper
    optimizer = node.get('optimizer')
    if isinstance(optimizer, Mapping) and (known := _find(registry.OPTIMIZERS, optimizer)):
        if known.__name__ in NEED_GROUP:
            return
        with _told(cfg, OPTIMIZER, optimizer, known):
            known([nn.Parameter(torch.zeros(1))], **_arguments(optimizer))
    if not optimizer and 'constructor' not in node:
        return  # optimizers that are already built
    wrapper_cfg = copy.deepcopy(node)
    if not has_amp(get_device()) and wrapper_cfg.get('type') == 'AmpOptimWrapper':
        wrapper_cfg.type = 'AutoAmpOptimWrapper'  # as adapt_to_device() will
    with _told(cfg, 'optim_wrapper', node):
        wrapper = build_optim_wrapper(model, wrapper_cfg)
    if isinstance(wrapper, OptimWrapperDict):
        wrapper = next(iter(wrapper.values()))
    defaults = dict(optimizer=wrapper, epoch_length=EPOCH_LENGTH)
    for place, scheduler in iter_schedulers(cfg):
        known = _find(registry.PARAM_SCHEDULERS, scheduler)
        with _told(cfg, place, scheduler, known):
            registry.PARAM_SCHEDULERS.build(copy.deepcopy(scheduler), default_args=defaults)


def _is_known(kind: Callable) -> bool:
    """Whether it belongs to OpenMMLab or this package, so that building it has no side effects."""
    return str(kind.__module__).partition('.')[0] in STACK


def _check_priority(value) -> None:
    if value is None:
        return
    names = [p.name for p in Priority]
    whole = type(value) is int and 0 <= value <= Priority.LOWEST.value
    if not whole and not isinstance(value, Priority) and str(value).upper() not in names:
        raise ValueError(f'priority is {value!r}; expected 0 to 100, or one of {", ".join(names)}')


def _check_intervals(value) -> None:
    if value is None:
        return
    whole = isinstance(value, list) and all(
        isinstance(pair, list | tuple) and [*map(type, pair)] == [int, int] and pair[1] > 0
        for pair in value
    )
    if not whole:
        raise ValueError(
            f'dynamic_intervals is {value!r}; expected a list of pairs (from when on, interval), '
            'as [(280, 1)]'
        )


def _check_run(cfg: Config) -> None:
    """Check the argument names of loops, hooks and whatever else needs the runner."""
    given = dict(runner=None, dataloader=None, evaluator=None)
    loops = [('train_cfg', cfg.get('train_cfg')), ('val_cfg', cfg.get('val_cfg'))]
    parts = [(place, node, registry.LOOPS) for place, node in loops]
    parts += [('log_processor', cfg.get('log_processor'), registry.LOG_PROCESSORS)]
    hooks = (cfg.get('default_hooks') or {}).items()
    parts += [(f'default_hooks.{name}', node, registry.HOOKS) for name, node in hooks]
    hooks = enumerate(cfg.get('custom_hooks') or ())
    parts += [(f'custom_hooks.{i}', node, registry.HOOKS) for i, node in hooks]
    for place, node, known in parts:
        kind = _find(known, node) if isinstance(node, Mapping) else None
        if kind is not None:
            extra = given if known is registry.LOOPS else {}
            with _told(cfg, place, node, kind):
                arguments = _arguments(node)
                _check_priority(arguments.pop('priority', None))
                _bind(kind, arguments, **extra)
                if known is registry.HOOKS and _is_known(kind):
                    with suppress(RuntimeError):  # from hooks that need the run's visualizer
                        registry.HOOKS.build({'type': kind, **arguments})
                if known is registry.LOOPS:
                    _check_intervals(arguments.get('dynamic_intervals'))
    if node := cfg.get('randomness'):
        with _told(cfg, 'randomness', node, Runner.set_randomness):
            _bind(Runner.set_randomness, node, self=None)


def check_arguments(cfg: Config, model: nn.Module) -> None:
    """Raise :class:`UserError` for an argument in ``cfg`` that a part of the runner rejects.

    Args:
        cfg: a config that :func:`~selnext_mm.engine.preflight.values.check_types` has passed.
        model: its model, built; the optimizer for its parameters is built and discarded.
    """
    scope = cfg.get('default_scope', 'mmengine')
    # The run itself will repeat whatever is logged here.
    with quiet(logging.WARNING), DefaultScope.overwrite_default_scope(scope):
        for loader in ('train_dataloader', 'val_dataloader'):
            _check_loader(cfg, loader)
        check_metrics(cfg, 'val_evaluator')
        _check_optimizer(cfg, model)
        _check_run(cfg)
