"""Types of the standard library that a checkpoint may contain besides its weights: no code."""

import argparse
import collections
import contextlib
import datetime
import pathlib
from typing import Any

import torch

CONTAINERS = (list, dict, set, frozenset, tuple, bytearray, complex, slice, range)
NUMBERS = (int, float, str, bool)  # the usual default factories of a defaultdict
DATES = ('date', 'datetime', 'time', 'timedelta', 'timezone')
PATHS = ('PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath', 'Path', 'PurePath')


def plain_types() -> list[Any]:
    """For ``torch.serialization.safe_globals``: classes, and (class, name in the file).

    Creating these objects runs no code from the file: they only store values. A path is read as a
    pure path of its own system, so that a file written on Windows can be read elsewhere.
    """
    listed: list[Any] = [
        argparse.Namespace,
        collections.Counter,
        (_without_default, 'collections.defaultdict'),
    ]
    for kind in (*CONTAINERS, *NUMBERS):
        listed.append((kind, f'builtins.{kind.__name__}'))
    listed += [getattr(datetime, name) for name in DATES]
    for name in PATHS:
        pure = pathlib.PureWindowsPath if 'Windows' in name else pathlib.PurePosixPath
        # Python 3.13 and later name the module pathlib._local.
        listed += [(pure, f'pathlib.{name}'), (pure, f'pathlib._local.{name}')]
    return listed + _numpy_types()


def _without_default(factory: object = None) -> dict:
    """A plain dict instead of a defaultdict; torch then fills in the items."""
    return {}


def _numpy_types() -> list[Any]:
    """Arrays and numbers of every dtype; the objects in an array must be of allowed types, too."""
    try:
        import numpy as np
    except ImportError:  # torch works without it
        return []
    core = np._core if hasattr(np, '_core') else np.core
    functions = {name: getattr(core.multiarray, name) for name in ('_reconstruct', 'scalar')}
    dtypes = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    # Files name the functions by their module in the numpy version that wrote them.
    named = [
        (function, f'numpy.{module}.multiarray.{name}')
        for name, function in functions.items()
        for module in ('core', '_core')
    ]
    return [np.ndarray, np.dtype, *dtypes, *named]


def allowed_types() -> contextlib.AbstractContextManager:
    """Inside it ``torch.load(weights_only=True)`` accepts :func:`plain_types`, from torch 2.6 on.

    Torch 2.5 accepts only ``argparse.Namespace`` of them. Types that are already allowed are left
    out, because leaving the block would disallow them for good.
    """
    safe_globals = getattr(torch.serialization, 'safe_globals', None)  # torch 2.5 or later
    if safe_globals is None:
        return contextlib.nullcontext()
    version = tuple(int(part) for part in torch.__version__.split('.')[:2])
    wanted = plain_types() if version >= (2, 6) else [argparse.Namespace]
    present = torch.serialization.get_safe_globals()
    return safe_globals([item for item in wanted if item not in present])
