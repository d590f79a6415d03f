"""Errors for users: the exception, type checks of arguments that raise it, exit statuses."""

import functools
import inspect
import os
import reprlib
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec('P')
R = TypeVar('R')

# Exit statuses of the commands: 0 done, 2 a UserError, 130 Ctrl-C, and
STOPPED = 75  # EX_TEMPFAIL: stopped by SIGTERM or SIGUSR1, state saved; restart with --resume


class UserError(Exception):
    """A mistake that the user can fix: the message names the value, the place and the remedy.

    Command-line entry points print it as one message and exit with status 2; ``--debug``
    shows the traceback.
    """

    def __init__(self, text: str = '') -> None:
        # torch's data loaders raise a worker's exception again, with the whole traceback as its
        # message; the original message is at the end.
        text = str(text)
        if text.startswith('Caught UserError in '):
            text = text.rpartition('UserError: ')[2].strip()
        super().__init__(text)


# Type in an annotation -> its description.
WORDS = {
    NoneType: 'None',
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'a string',
    Path: 'a path',
    dict: 'a dict',
    Callable: 'a function',
}


def _kinds(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, UnionType)
    return typing.get_args(hint) if union else (hint,)


def _words(kind: Any) -> str:
    origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
    if inside and origin is not dict and issubclass(origin, Iterable):
        return 'a list of strings' if inside == (str,) else 'a list'
    return WORDS.get(origin) or f'a {origin.__name__}'


def _is(value: Any, kind: Any) -> bool:
    origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is Callable:
        return callable(value)
    if origin in (int, float):
        number = Integral if origin is int else Real  # includes numpy's types
        return isinstance(value, number) and not isinstance(value, bool)
    if origin is Path:
        return isinstance(value, os.PathLike)
    if not inside or issubclass(origin, Mapping):
        return isinstance(value, origin)
    # A string is not a list of strings; items of an iterator are unknown before it is consumed.
    if isinstance(value, str | bytes) or not isinstance(value, origin):
        return False
    kinds = [k for hint in inside for k in _kinds(hint)]
    return not isinstance(value, Collection) or all(any(_is(v, k) for k in kinds) for v in value)


def check_types(call: str, hints: dict[str, Any], values: dict[str, Any]) -> None:
    """Raise :class:`UserError` for the first of ``values`` that does not match its annotation.

    Args:
        call: the function or class that got the values, for the message.
        hints: name -> annotation, as ``typing.get_type_hints`` gives them.
        values: name -> value.
    """
    for name, value in values.items():
        kinds = _kinds(hints[name])
        if not any(_is(value, kind) for kind in kinds):
            expected = ' or '.join(_words(kind) for kind in kinds)
            raise UserError(f'{call}: {name}={reprlib.repr(value)}; expected {expected}')


def typed(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: check the arguments of a public function by :func:`check_types`.

    The function itself checks ``**options``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function)
        named = {name for name, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise UserError(f'{call}: {error}') from error
            check_types(call, hints, {n: v for n, v in given.items() if n in named & hints.keys()})
            return function(*args, **kwargs)

        return checked

    return decorate
