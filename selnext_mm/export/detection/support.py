"""Checks that a part of MMDetection can be written as a graph; errors name the others."""

from typing import Any

from selnext_mm.errors import UserError

INSTEAD = 'export --part backbone-neck and run the heads in PyTorch, or use selnext-mm predict'


def refuse(what: str, supported: str) -> UserError:
    """The error for a part (``what``) of a detector that cannot be written."""
    return UserError(f'{what}: exporting a whole detector needs {supported} here; {INSTEAD}')


def expect_type(value: Any, *names: str, place: str) -> None:
    """Raise unless the class of ``value`` is one of ``names``; a subclass might compute something
    else."""
    name = type(value).__name__
    if name not in names:
        raise refuse(f'{place} is a {name}', ' or '.join(names))


def expect_value(value: Any, *choices: Any, place: str) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise refuse(f'{place}={value}', ' or '.join(map(str, choices)))


def positive(cfg: dict, key: str, place: str) -> int:
    """``cfg[key]``; raises unless it is a positive integer."""
    value = cfg.get(key)
    if not isinstance(value, int) or value < 1:
        raise refuse(f'{place}.{key}={value}', 'a whole number above 0')
    return value
