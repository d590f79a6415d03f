"""Keys of ``model.train_cfg`` and ``model.test_cfg`` that nothing reads; suggests the nearest.

Stock detectors take both as plain dicts and read what they need: a misspelt ``score_thr`` silently
means the default. Which keys are read is found in the source of the model's classes: the names that
they read from variables called ``...cfg``. Assigners, samplers and NMS are called with their keys,
and some ignore unknown ones (``**kwargs``).
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import FunctionType

from mmengine.config import Config
from mmengine.registry import MODELS, TASK_UTILS, DefaultScope, Registry

from selnext_mm.errors import UserError
from selnext_mm.text import near

PARTS = ('train_cfg', 'test_cfg')
CUTOFF, OF_SHORT = 0.75, 0.6  # how similar a key has to be to one that is read
SHORT = 4  # letters, as in rpn and rcnn
# Keys of an NMS dict that mmcv removes before it calls its operator.
NMS_KEYS = ('type', 'class_agnostic', 'split_thr', 'iou_thr')
# Arguments that a class passes on as a whole, and where to: mmpretrain's RandomBatchAugment.
HANDED_ON = {'mmpretrain.models.classifiers.image': frozenset({'augments', 'probs'})}
# How the classes of a model read a key of a config.
QUESTIONS = [
    re.compile(pattern)
    for pattern in (
        r'cfg\w*((?:\.[a-z]\w*)+)',
        r'cfg\w*(?:\.[a-z]\w*)*\.(?:get|pop|setdefault)\(\s*[\'"](\w+)[\'"]',
        r'cfg\w*(?:\.[a-z]\w*)*\[[\'"](\w+)[\'"]\]',
        r'[\'"](\w+)[\'"]\s+(?:not )?in\s+[\w.]*cfg',
        r'(?:has|get)attr\(\s*[\w.]*cfg[\w.]*,\s*[\'"](\w+)[\'"]',
    )
]


def check_model_keys(cfg: Config) -> None:
    """Raise :class:`UserError` for a key that is not read and resembles one that is.

    Args:
        cfg: a config; its model need not be built.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        read: set[str] | None = None
        for place, node in _parts(cfg.get('model'), 'model'):
            if read is None:
                read = set().union(*map(_questions, _modules(_classes(cfg.model))))
            _check(cfg, place, node, read)


def _parts(node, place: str) -> Iterator[tuple[str, Mapping]]:
    """(place, dict) of every ``train_cfg`` and ``test_cfg`` inside a model."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in PARTS:
                yield from _dicts(value, f'{place}.{key}')
            else:
                yield from _parts(value, f'{place}.{key}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _parts(value, f'{place}.{i}')


def _dicts(node, place: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(node, Mapping):
        yield place, node
        for key, value in node.items():
            yield from _dicts(value, f'{place}.{key}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _dicts(value, f'{place}.{i}')


def _find(known: Registry, kind) -> Callable | None:
    if not isinstance(kind, str):
        return kind
    with known.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)


def _classes(node) -> Iterator[type]:
    """The classes named by the ``type`` keys of a model."""
    if isinstance(node, Mapping):
        kind = _find(MODELS, node['type']) if node.get('type') else None
        if inspect.isclass(kind):
            yield kind
        for value in node.values():
            yield from _classes(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _classes(value)


def _modules(classes) -> set[str]:
    """The modules of ``classes``, of their bases, and of functions that these modules use."""
    names = {base.__module__ for cls in classes for base in cls.__mro__}
    names = {n for n in names if n.partition('.')[0] not in ('builtins', 'torch', 'mmengine')}
    used = set()
    for name in names:
        root = name.partition('.')[0]
        for value in list(vars(sys.modules.get(name, re)).values()):
            if isinstance(value, FunctionType) and value.__module__.startswith(f'{root}.'):
                used.add(value.__module__)
    return names | used


@lru_cache(1024)
def _questions(module: str) -> frozenset[str]:
    """The keys that a module's source reads from variables called ``...cfg``."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):  # compiled, or typed into a notebook
        return frozenset()
    found = {name for pattern in QUESTIONS for name in pattern.findall(source)}
    parts = frozenset(part for name in found for part in name.split('.') if part)
    return parts | HANDED_ON.get(module, frozenset())


def _parameters(known: Callable) -> set[str]:
    """The parameter names of a class or function, including those of its bases."""
    names: set[str] = set()
    for cls in getattr(known, '__mro__', (known,)):
        try:
            names |= set(inspect.signature(cls).parameters)
        except (TypeError, ValueError):
            continue
    return names - {'args', 'kwargs', 'self'}


def _operator(node: Mapping) -> Callable | None:
    """The mmcv function that an NMS dict names; None if mmcv is not installed."""
    try:
        nms = importlib.import_module('mmcv.ops')
    except (ImportError, AssertionError):
        return None
    return getattr(nms, str(node.get('type', 'nms')), None)


def _check(cfg: Config, place: str, node: Mapping, read: set[str]) -> None:
    if place.rpartition('.')[2] == 'nms':
        known = _operator(node)
        if known is None:
            return
        keys = _parameters(inspect.unwrap(known)) | set(NMS_KEYS)
    elif node.get('type'):
        known = next(filter(None, (_find(r, node['type']) for r in (TASK_UTILS, MODELS))), None)
        if known is None:
            return
        keys = _parameters(known) | {'type', '_scope_'}
    else:
        keys = read
    for key in node:
        if key in keys or not isinstance(key, str):
            continue
        if likely := near(key, keys, 1, OF_SHORT if len(key) <= SHORT else CUTOFF):
            raise UserError(
                f'{place}.{key} = {node[key]!r} in {cfg.filename}: nothing reads the key {key!r}; '
                f'did you mean {place}.{likely[0]}?'
            )
