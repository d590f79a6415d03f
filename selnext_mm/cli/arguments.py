"""Arguments that several commands take."""

import argparse
import ast
from collections.abc import Iterable
from typing import Any

NUMBERS = {'none': None, 'true': True, 'false': False}
PLAIN = (int, float, str, bool, type(None))


class Options(argparse.Action):
    """``key=value ...`` as in mmengine's ``DictAction``, but without its losses.

    Spaces inside a value are kept ("traffic light"), quoted values are strings ("'1'"), and dicts
    can be given, as in ``custom_hooks="[dict(type='EMAHook')]"``. A word without "=" or unbalanced
    brackets are a command-line error, not a traceback.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        options = dict(getattr(namespace, self.dest, None) or {})
        for word in values:
            key, equals, text = word.partition('=')
            if not equals or not key:
                parser.error(f'argument {option_string}: {word!r}; expected key=value')
            try:
                options[key] = value_of(text)
            except (ValueError, RecursionError) as error:
                parser.error(f'argument {option_string}: {word} cannot be read: {error}')
        setattr(namespace, self.dest, options)


def given_options(args: argparse.Namespace, names: Iterable[str], **defaults) -> list[str]:
    """The options among ``names`` as the words of a command; those at their default are left out.

    The default is that of ``defaults``, else None, or False for a switch. A zero is a value.
    """
    words = []
    for name in names:
        value = getattr(args, name)
        if value is None or value is False or (name in defaults and value == defaults[name]):
            continue
        words += [f'--{name.replace("_", "-")}', *([] if value is True else [str(value)])]
    return words


def value_of(text: str) -> Any:
    """The value of an option: a number, True, None, a string, a list, a tuple or a dict.

    Raises:
        ValueError: for unbalanced brackets, or a dict that is not valid Python.
    """
    text = text.strip()
    # Quoted strings and dicts in Python syntax; Windows paths are not valid Python.
    if ('dict(' in text or any(c in text for c in '{\'"')) and '\\' not in text:
        try:
            found = _literal(ast.parse(f'[{text}]', mode='eval').body)
        except (ValueError, SyntaxError, MemoryError):
            return _words(text)
        return found[0] if len(found) == 1 and not text.endswith(',') else found
    return _words(text)


def _literal(node: ast.AST) -> Any:
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_literal(key): _literal(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and not node.args:
        return {str(word.arg): _literal(word.value) for word in node.keywords}
    value = ast.literal_eval(node)
    if not isinstance(value, PLAIN):
        raise ValueError(f'{value!r} is neither a number nor text')
    return value


def _scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if text == 'None' or text.lower() in ('true', 'false'):
        return NUMBERS[text.lower()]
    return text


def _words(text: str) -> Any:
    """Words and numbers between commas and brackets, as mmengine reads them."""
    text = text.strip().strip('\'"')
    closed = text[:1] + text[-1:]
    if closed not in ('()', '[]') or _depths(text).index(0) < len(text) - 1:
        closed = ''
        if ',' not in text:
            return _scalar(text)
    items = _items(text[1:-1] if closed else text)
    if items == [text]:
        raise ValueError(
            'its brackets belong to no list; write text in quotes inside of the quotes of the '
            'shell, and dicts as in Python'
        )
    values = [_words(item) for item in items]
    return tuple(values) if closed == '()' else values


def _depths(text: str) -> list[int]:
    """The number of open brackets after each character.

    Raises:
        ValueError: for unbalanced brackets.
    """
    depths, depth = [], 0
    for letter in text:
        depth += (letter in '([') - (letter in ')]')
        depths.append(depth)
    if depth or min(depths, default=0) < 0:
        raise ValueError(f'its brackets have no partner: {text}')
    return depths


def _items(text: str) -> list[str]:
    """The parts between commas outside brackets."""
    items, start = [], 0
    for place, depth in enumerate(_depths(text)):
        if text[place] == ',' and not depth:
            items.append(text[start:place])
            start = place + 1
    rest = text[start:]
    return [*items, rest] if rest.strip() else items
