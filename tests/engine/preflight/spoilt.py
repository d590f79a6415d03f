"""Configs spoilt at one place: a key misspelt, a value of another type, a part removed or twice."""

import copy

VALUES = (None, '', 'x', -1, 0, 1.5, float('nan'), True, [], [1], {}, {'type': 'Nothing'}, 'a.b')


def places(node, path=()):
    """The way to every value inside ``node``."""
    if isinstance(node, dict):
        items = list(node.items())
    else:
        items = list(enumerate(node)) if isinstance(node, list | tuple) else []
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def spoil(content, path, how):
    """A copy of the nested dict ``content``, spoilt at ``path``.

    Args:
        how: 'remove', 'misspell', 'twice', or the index of one of :data:`VALUES`.
    """
    content = node = copy.deepcopy(content)
    for key in path[:-1]:
        inner = node[key]
        if isinstance(inner, tuple):
            inner = node[key] = list(inner)
        node = inner
    last = path[-1]
    if how == 'remove':
        del node[last]
    elif how == 'misspell' and isinstance(last, str):
        node[last[:-1] + last[-1] * 2] = node.pop(last)
    elif how == 'twice' and isinstance(node, list):
        node.insert(last, copy.deepcopy(node[last]))
    elif isinstance(how, int):
        node[last] = copy.deepcopy(VALUES[how])
    return content
