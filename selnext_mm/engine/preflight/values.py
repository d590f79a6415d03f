"""Settings that would end a run with a traceback, told before anything is written."""

import difflib
import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from numbers import Real

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn

from selnext_mm.config.load import LOADERS, iter_evaluators, iter_hooks
from selnext_mm.errors import UserError
from selnext_mm.registry import FALLBACK_SCOPES

# path -> (lowest, highest or None, is it a whole number); what is not set is not looked at
LIMITS = {
    **{f'{loader}.batch_size': (1, None, True) for loader in LOADERS},
    **{f'{loader}.num_workers': (0, None, True) for loader in LOADERS},
    'train_cfg.max_epochs': (1, None, True),
    'train_cfg.max_iters': (1, None, True),
    'train_cfg.val_interval': (1, None, True),
    'optim_wrapper.optimizer.lr': (0, None, False),
    'optim_wrapper.accumulative_counts': (1, None, True),
    'default_hooks.logger.interval': (1, None, True),
    'randomness.seed': (0, 2**32 - 1, True),
}
OPTIMIZER = 'optim_wrapper.optimizer'


def _find(cfg: Config, path: str):
    """Value at a dotted path, None if there is none."""
    node = cfg
    for key in path.split('.'):
        if not hasattr(node, 'get'):
            return None
        node = node.get(key)
    return node


def check_numbers(cfg: Config) -> None:
    """Raise :class:`UserError` for a number that no run can use."""
    for path, (low, high, whole) in LIMITS.items():
        value = _find(cfg, path)
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


def _pipeline(transforms, path: str) -> Iterator[tuple[str, dict, Registry]]:
    for i, transform in enumerate(transforms or ()):
        if isinstance(transform, dict):
            inner = transform.get('transforms')
            # What Albumentations' wrappers hold is built by that library.
            foreign = str(transform.get('type')).rpartition('.')[2].startswith('Albu')
            if isinstance(inner, list | tuple) and not foreign:
                yield from _pipeline(inner, f'{path}.{i}.transforms')
            yield f'{path}.{i}', transform, registry.TRANSFORMS
        elif isinstance(transform, list | tuple):
            yield from _pipeline(transform, f'{path}.{i}')


def _dataset(node, path: str) -> Iterator[tuple[str, dict, Registry]]:
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _dataset(item, f'{path}.{i}')
    elif isinstance(node, dict):
        yield path, node, registry.DATASETS
        yield from _pipeline(node.get('pipeline'), f'{path}.pipeline')
        for key in ('dataset', 'datasets'):
            if key in node:
                yield from _dataset(node[key], f'{path}.{key}')


def loader_parts(cfg: Config, loader: str) -> Iterator[tuple[str, dict, Registry]]:
    """(place, dict, registry) of a loader's data sets, transforms (inner ones first), samplers."""
    if node := cfg.get(loader):
        yield from _dataset(node.get('dataset'), f'{loader}.dataset')
        for key in ('sampler', 'batch_sampler'):
            if isinstance(node.get(key), dict):
                yield f'{loader}.{key}', node[key], registry.DATA_SAMPLERS


def schedulers(cfg: Config) -> Iterator[tuple[str, dict]]:
    """(place, dict) of every parameter scheduler."""
    nodes = cfg.get('param_scheduler') or []
    if isinstance(nodes, dict) and 'type' in nodes:
        yield 'param_scheduler', nodes
        return
    for key, node in nodes.items() if isinstance(nodes, dict) else enumerate(nodes):
        if isinstance(node, dict):
            yield f'param_scheduler.{key}', node


def _types(cfg: Config) -> Iterator[tuple[str, object, Registry]]:
    """(place, type, registry that should know it) of what a runner builds, models left out."""
    for loader in LOADERS:
        for place, node, known in loader_parts(cfg, loader):
            yield place, node.get('type'), known
    for name, evaluator in iter_evaluators(cfg):
        yield name, evaluator.get('type'), registry.METRICS
    for path, known in (
        ('optim_wrapper', registry.OPTIM_WRAPPERS),
        (OPTIMIZER, registry.OPTIMIZERS),
        ('train_cfg', registry.LOOPS),
        ('val_cfg', registry.LOOPS),
        ('test_cfg', registry.LOOPS),
        ('visualizer', registry.VISUALIZERS),
    ):
        yield path, (_find(cfg, path) or {}).get('type'), known
    constructor = _find(cfg, 'optim_wrapper.constructor')
    yield 'optim_wrapper.constructor', constructor, registry.OPTIM_WRAPPER_CONSTRUCTORS
    for place, scheduler in schedulers(cfg):
        yield place, scheduler.get('type'), registry.PARAM_SCHEDULERS
    for hook in iter_hooks(cfg):
        yield 'a hook', hook.get('type'), registry.HOOKS


def near_names(known: Registry, name: str) -> str:
    """'; did you mean ...?' for a name that the registry of the current scope lacks."""
    names = {n for r in (known, known.root) for n in r.module_dict}
    near = difflib.get_close_matches(name.rpartition('.')[2], names, n=2)
    return f'; did you mean {" or ".join(near)}?' if near else ''


def _parameters(known: Callable | None) -> list[str]:
    """Names of the arguments of a class or function, those of its bases included."""
    names = {}
    for cls in getattr(known, '__mro__', (known,)):
        try:
            names |= inspect.signature(cls).parameters
        except (TypeError, ValueError):
            continue
    return list(names)


def near_parameter(known: Callable | None, text: str) -> str:
    """' (did you mean ...?)' where ``text`` names an argument that ``known`` does not have."""
    match = re.search(r"unexpected keyword argument '(\w+)'", text)
    near = difflib.get_close_matches(match[1], _parameters(known), n=1) if match else []
    return f' (did you mean {near[0]}?)' if near else ''


def check_types(cfg: Config) -> None:
    """Raise :class:`UserError` for a ``type`` that nothing is registered under.

    ImportError, or mmdet's AssertionError on a version, if the package of the scope is broken.
    """
    scope = cfg.get('default_scope', 'mmengine')
    if scope in FALLBACK_SCOPES:
        # mmengine's registries take a package that cannot be imported for one that knows nothing.
        importlib.import_module(scope)
    with DefaultScope.overwrite_default_scope(scope):
        for place, name, known in _types(cfg):
            if not isinstance(name, str):
                continue
            with known.switch_scope_and_registry(None) as scoped:
                if scoped.get(name) is None:
                    raise UserError(
                        f'{place}: type {name!r} in {cfg.filename} is registered nowhere'
                        f'{near_names(scoped, name) or "."} Modules of your own need custom_imports'
                    )


# What a runner and this package's commands read at the top level of a config.
TOP_KEYS = (
    *('model', 'data_preprocessor', 'pretrained', 'load_from', 'resume', 'work_dir', 'launcher'),
    *('train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg', 'test_cfg'),
    *('val_evaluator', 'test_evaluator', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr'),
    *('default_hooks', 'custom_hooks', 'custom_imports', 'env_cfg', 'randomness', 'default_scope'),
    *('log_processor', 'log_level', 'visualizer', 'experiment_name', 'metainfo'),
)


def misspelt_keys(cfg: Config) -> list[str]:
    """A warning for each top-level key that looks like one that is read, and is not.

    A config may hold variables of any name, so that this is no error.
    """
    near = {key: difflib.get_close_matches(key, TOP_KEYS, 1, 0.8) for key in cfg}
    return [
        f'{cfg.filename}: nothing reads the key {key!r}; did you mean {match[0]!r}?'
        for key, match in near.items()
        if match and key not in TOP_KEYS
    ]


def _check_neck(cfg: Config, model: nn.Module) -> None:
    """The backbone's widths against the neck's, for backbones of this package."""
    backbone, neck = getattr(model, 'backbone', None), cfg.model.get('neck')
    wanted = neck.get('in_channels') if isinstance(neck, Mapping) else None
    channels = getattr(backbone, 'channels', None)
    ours = type(backbone).__module__.partition('.')[0] == 'selnext_mm'
    if not ours or channels is None or not isinstance(wanted, list | tuple):
        return
    widths = [channels[i] for i in backbone.out_indices]
    if list(wanted) != widths:
        text = ','.join(map(str, widths))
        raise UserError(
            f'model.neck.in_channels = {list(wanted)} in {cfg.filename}, but the maps of the '
            f'backbone have {widths} channels; add --cfg-options "model.neck.in_channels=[{text}]"'
        )


def build_model(cfg: Config) -> nn.Module:
    """The model of a config; :class:`UserError` if it cannot be built."""
    model = _build_model(cfg)
    _check_neck(cfg, model)
    return model


def _build_model(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        try:
            return MODELS.build(cfg.model)
        except UserError:
            raise
        # Whatever a constructor raises comes from the arguments in the config.
        except Exception as error:
            text = str(error.args[0] if error.args else error).strip()
            text = (text.splitlines() or [type(error).__name__])[0]
            if match := re.search(r'(\S+) is not in the \S+ registry', text):
                with MODELS.switch_scope_and_registry(None) as scoped:
                    text = match[0] + near_names(scoped, match[1])
            elif match := re.search(r'(\w+)\.__init__\(\) got an unexpected keyword', text):
                text += near_parameter(MODELS.get(match[1]), text)
            if isinstance(error, ImportError) or 'is used but incompatible' in text:
                text += '. "selnext-mm doctor" checks the environment'
            raise UserError(
                f'the model of {cfg.filename} cannot be built: {type(error).__name__}: {text}'
            ) from error
