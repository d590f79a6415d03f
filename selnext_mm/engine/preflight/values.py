"""Settings that would end a run with a traceback, reported before anything is written."""

import importlib
import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from numbers import Real

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry

from selnext_mm.config.build import near_names
from selnext_mm.config.option_keys import READ_KEYS
from selnext_mm.config.scopes import check_scope
from selnext_mm.config.walk import (
    LOADERS,
    OPTIMIZER,
    iter_evaluator_types,
    iter_evaluators,
    iter_hooks,
    iter_schedulers,
    loader_parts,
    value_at,
)
from selnext_mm.errors import UserError
from selnext_mm.registry import FALLBACK_SCOPES
from selnext_mm.text import near

# path -> (minimum, maximum or None, whether it is an integer); unset values are not checked
LIMITS = {
    **{f'{loader}.batch_size': (1, None, True) for loader in LOADERS},
    **{f'{loader}.num_workers': (0, None, True) for loader in LOADERS},
    'train_cfg.max_epochs': (1, None, True),
    'train_cfg.max_iters': (1, None, True),
    'train_cfg.val_interval': (1, None, True),
    'optim_wrapper.optimizer.lr': (0, None, False),
    'optim_wrapper.accumulative_counts': (1, None, True),
    'default_hooks.logger.interval': (1, None, True),
    'auto_scale_lr.base_batch_size': (1, None, True),
    'randomness.seed': (0, 2**32 - 1, True),
}


LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')


def check_numbers(cfg: Config) -> None:
    """Raise :class:`UserError` for a number that no run can use, or an incomplete validation."""
    for path, (low, high, whole) in LIMITS.items():
        value = value_at(cfg, path)
        if value is None:
            continue
        kind = int if whole else Real
        good = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < low or (high is not None and value > high):
            what = 'a whole number' if whole else 'a number'
            limit = f'from {low} to {high}' if high is not None else f'of {low} or more'
            raise UserError(
                f'{path} = {value!r} in {cfg.filename}; expected {what} {limit}: --cfg-options '
                f'{path}=N'
            )
    scale = cfg.get('auto_scale_lr') or {}
    if scale.get('enable') and not scale.get('base_batch_size'):
        raise UserError(
            f'auto_scale_lr of {cfg.filename} is enabled without base_batch_size, the batch that '
            'the lr is meant for: --cfg-options auto_scale_lr.base_batch_size=N, or '
            'auto_scale_lr.enable=False'
        )
    level = cfg.get('log_level')
    if level is not None and level not in LEVELS and type(level) is not int:
        raise UserError(
            f'log_level = {level!r} in {cfg.filename}; expected one of {", ".join(LEVELS)}'
        )
    for split in ('val', 'test'):
        keys = [f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
        unset = [key for key in keys if cfg.get(key) is None]
        if 0 < len(unset) < len(keys):
            there = [key for key in keys if key not in unset]
            raise UserError(
                f'{", ".join(there)} of {cfg.filename} are set and {", ".join(unset)} not: a '
                f'{"validation" if split == "val" else "test"} has all three or none. To leave it '
                f'out, set {", ".join(there)} to None, too'
            )


def _types(cfg: Config) -> Iterator[tuple[str, object, Registry]]:
    """(place, type, registry that should contain it) of what a runner builds, except models."""
    for loader in LOADERS:
        for place, node, known in loader_parts(cfg, loader):
            yield place, node.get('type'), known
    for name, evaluator in iter_evaluators(cfg):
        yield name, evaluator.get('type'), registry.METRICS
    for name, kind in iter_evaluator_types(cfg):
        yield name, kind, registry.EVALUATOR
    for path, known in (
        ('optim_wrapper', registry.OPTIM_WRAPPERS),
        (OPTIMIZER, registry.OPTIMIZERS),
        ('train_cfg', registry.LOOPS),
        ('val_cfg', registry.LOOPS),
        ('test_cfg', registry.LOOPS),
        ('visualizer', registry.VISUALIZERS),
    ):
        yield path, (value_at(cfg, path) or {}).get('type'), known
    constructor = value_at(cfg, 'optim_wrapper.constructor')
    yield 'optim_wrapper.constructor', constructor, registry.OPTIM_WRAPPER_CONSTRUCTORS
    for place, scheduler in iter_schedulers(cfg):
        yield place, scheduler.get('type'), registry.PARAM_SCHEDULERS
    for hook in iter_hooks(cfg):
        yield 'a hook', hook.get('type'), registry.HOOKS
    backends = (cfg.get('visualizer') or {}).get('vis_backends') or ()
    for i, backend in enumerate([backends] if isinstance(backends, Mapping) else backends):
        if isinstance(backend, Mapping):
            yield f'visualizer.vis_backends.{i}', backend.get('type'), registry.VISBACKENDS
    for loader in LOADERS:
        collate = value_at(cfg, f'{loader}.collate_fn')
        if isinstance(collate, Mapping):
            yield f'{loader}.collate_fn', collate.get('type'), registry.FUNCTIONS
    yield 'log_processor', (cfg.get('log_processor') or {}).get('type'), registry.LOG_PROCESSORS
    yield 'runner_type', cfg.get('runner_type'), registry.RUNNERS


def check_types(cfg: Config) -> None:
    """Raise :class:`UserError` for a ``type`` that is not registered.

    ImportError, or mmdet's AssertionError on a version, if the package of the scope is broken.
    """
    check_scope(cfg)
    scope = cfg.get('default_scope', 'mmengine')
    if scope in FALLBACK_SCOPES:
        # mmengine's registries treat a package that cannot be imported as an empty one.
        importlib.import_module(scope)
    nameless = [
        place
        for loader in LOADERS
        for place, node, _ in loader_parts(cfg, loader)
        if not node.get('type')
    ]
    nameless += [place for place, node in iter_evaluators(cfg) if not node.get('type')]
    if nameless:
        raise UserError(
            f'{nameless[0]} in {cfg.filename} has no type; expected dict(type=..., ...)'
        )
    with DefaultScope.overwrite_default_scope(scope):
        for place, name, known in _types(cfg):
            if not isinstance(name, str):
                continue
            # Functions are mmengine's in any scope.
            scoping = known is not registry.FUNCTIONS
            with known.switch_scope_and_registry(None) if scoping else nullcontext(known) as scoped:
                if scoped.get(name) is None:
                    raise UserError(
                        f'{place}: type {name!r} in {cfg.filename} is registered nowhere'
                        f'{near_names(scoped, name) or "."} Modules of your own need custom_imports'
                    )


def misspelt_keys(cfg: Config) -> list[str]:
    """A warning for each top-level key that is not read but resembles one that is.

    A config may contain variables of any name, so this is not an error.
    """
    likely = {key: near(key, READ_KEYS, 1, 0.8) for key in cfg}
    return [
        f'{cfg.filename}: nothing reads the key {key!r}; did you mean {match[0]!r}?'
        for key, match in likely.items()
        if match and key not in (*READ_KEYS, 'metainfo')
    ]
