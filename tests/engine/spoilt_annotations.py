"""COCO files spoilt at one place or in their bytes: what the fuzzer of annotations draws from."""

import copy
import json

import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from tests.datasets.check.coco_samples import sound
from tests.engine.preflight.spoilt import places

# What may stand where something else is meant. Texts and numbers of every kind, and paths.
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1.0, 50, 100, 1000, 10**6, 1e9, -1e9),
    *(2**31, 2**53 + 1, 2**63, 2**64 + 1, 10**30, 10**400, 1e300, -1e300, 5e-324, -0.0),
    *(float('nan'), float('inf'), float('-inf')),
    *('', ' ', '0', '1', '10', '12.5', '-3', 'nan', 'inf', '1e400', '١٢', 'x', 'true', 'False'),
    *('猫', 'ca\u0301t', 'Cat', ' cat', 'cat\n', 'a\x00b', '\ud800', '\u202e', 'A' * 300, '{}'),
    *('1.jpg', './1.jpg', '../images/1.jpg', '/1.jpg', 'sub/../1.jpg', '..', '.', '~', '2.JPG'),
    *('a\\1.jpg', 'C:/1.jpg', 'http://x/1.jpg', 'file:///1.jpg', 'none.jpg', 'folder', 'text.jpg'),
    *([], [[]], [[[]]], {}, [0], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5], [0, 0, 0, 0], [None] * 4),
    *([10, 10, 20, 20], ['1', '2', '30', '40'], [10, 10, -5, 20], [1, 2, '30', 40], [True] * 4),
    *([0.1, 0.1, 0.2, 0.2], [90, 70, 30, 30], [500, 500, 10, 10], [1e5, 0, 5, 5], [0, 0, 1e7, 9]),
    *([[10, 10, 40, 10, 40, 40]], [[10, 10, 40, 40]], [[10, 10, 40, 10, 40, 40, 1]]),
    *([[10, 10, 40, 10], [10, 10, 40, 10, 40, 40]], [10, 10, 40, 10, 40, 40]),
    *([[[10, 10], [40, 10], [40, 40]]], [[0, 0, 0, 0, 0, 0]], [[5, '5', 9, 5, 9, 9]]),
    *({'counts': [8000], 'size': [80, 100]}, {'counts': [8000], 'size': [100, 80]}),
    *({'counts': [], 'size': [80, 100]}, {'counts': '', 'size': [80, 100]}, {'size': [80, 100]}),
    *({'counts': [4000, 100], 'size': [80, 100]}, {'counts': 5, 'size': [80, 100]}),
    *({'counts': [0, 8000], 'size': [80, 100]}, {'counts': [10.5, 7989.5], 'size': [80, 100]}),
    *({'counts': [10, -10, 8000], 'size': [80, 100]}, {'counts': [8000]}, {'id': 1}),
)
CHANGES = (
    *('remove', 'twice', 'rename', 'text', 'float', 'list', 'negate', 'times', 'null', 'clear'),
    'move',
)
BYTES = (
    *('bom', 'utf-16', 'utf-16-le', 'utf-32', 'latin-1', 'ascii', 'truncated', 'garbage', 'twice'),
    *('flip', 'comma', 'quotes', 'comment', 'keys', 'top', 'lines', 'nul', 'deep', 'page'),
)


def content() -> dict:
    """Three images with polygons, run lengths, compressed ones and a crowd; all of it sound."""
    made = sound()
    mask = np.zeros((80, 100), np.uint8, order='F')
    mask[40:50, 40:50] = 1
    fifth, sixth = made['annotations'][4:]
    runs = [40 * 80 + 40, *[10, 70] * 9, 10]
    fifth['segmentation'] = dict(size=[80, 100], counts=[*runs, 8000 - sum(runs)])
    mask[:] = 0
    mask[10:40, 60:85] = 1
    rle = mask_utils.encode(mask)
    sixth['segmentation'] = dict(size=[80, 100], counts=rle['counts'].decode())
    crowd = copy.deepcopy(sixth) | dict(id=7, image_id=1, category_id=12, iscrowd=1)
    made['annotations'].append(crowd)
    return made


def kind_of(path) -> tuple:
    """Numbers of items left out: every field is drawn as often as every other."""
    return tuple('*' if isinstance(key, int) else key for key in path)


def _change(node, key, how, other):
    value = node[key]
    if how == 'remove':
        del node[key]
    elif how == 'twice' and isinstance(node, list):
        node.insert(key, copy.deepcopy(value))
    elif how == 'rename' and isinstance(key, str):
        node[key.upper()] = node.pop(key)
    elif how == 'text':
        node[key] = str(value)
    elif how == 'float' and type(value) is int:
        node[key] = float(value)
    elif how == 'list':
        node[key] = [value]
    elif how == 'negate' and isinstance(value, int | float):
        node[key] = -value
    elif how == 'times' and isinstance(value, int | float):
        node[key] = value * 1000
    elif how == 'null':
        node[key] = None
    elif how == 'clear' and isinstance(value, list | dict):
        value.clear()
    elif how == 'move':
        node[key] = copy.deepcopy(other)


def value_at(node, path):
    for key in path:
        node = node[key]
    return node


@st.composite
def contents(draw) -> dict | list:
    """A sound file with one to three changes, most of them one."""
    made = content()
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        every = list(places(made))
        if not every:
            break
        kinds = {}
        for path in every:
            kinds.setdefault(kind_of(path), []).append(path)
        path = draw(st.sampled_from(kinds[draw(st.sampled_from(sorted(kinds, key=str)))]))
        node = value_at(made, path[:-1])
        how = draw(st.sampled_from((*CHANGES, *['set'] * 12)))
        if how == 'set':
            node[path[-1]] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        else:
            other = value_at(made, draw(st.sampled_from(every))) if how == 'move' else None
            _change(node, path[-1], how, other)
    return made


def _spoil_bytes(draw, text: str) -> bytes:
    how = draw(st.sampled_from(BYTES))
    data = text.encode('utf-8', 'surrogatepass')
    place = draw(st.integers(0, len(data) - 1))
    if how == 'bom':
        return b'\xef\xbb\xbf' + data
    if how in ('utf-16', 'utf-16-le', 'utf-32', 'latin-1', 'ascii'):
        return text.replace('cat', 'cät').encode(how, 'replace')
    if how == 'truncated':
        return data[:place]
    if how == 'garbage':
        return data + draw(st.sampled_from((b'x', b'{}', b'\x00', b',', b'}', data)))
    if how == 'flip':
        return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    if how == 'comma':
        return data.replace(b'}]', b'},]', 1)
    if how == 'quotes':
        return data.replace(b'"', b"'")
    if how == 'comment':
        return b'// made by hand\n' + data
    if how == 'nul':
        return b'\x00' * len(data)
    if how == 'deep':
        depth = draw(st.sampled_from((50, 900, 100000)))
        return data.replace(b'"iscrowd": 0', b'"iscrowd": 0, "x": ' + b'[' * depth + b']' * depth)
    if how == 'page':
        return b'<html>' + data
    if how == 'lines':
        return b'\n'.join(json.dumps(v).encode() for v in json.loads(text).values())
    if how == 'top':
        return b'[' + data + b']'
    if how == 'keys':  # the same key once more, with another value
        key = draw(st.sampled_from(('id', 'bbox', 'file_name', 'name', 'images', 'annotations')))
        value = draw(st.sampled_from(('1', '"x"', '[]', '[1, 2, 3, 4]', 'null')))
        old = f'"{key}": '.encode()
        return data.replace(old, f'"{key}": {value}, '.encode() + old, 1)
    return data.replace(b'"images": ', b'"images": [], "images": ', 1)  # twice


@st.composite
def files(draw) -> bytes:
    """The bytes of a spoilt file: in nine of ten cases JSON with spoilt content."""
    if draw(st.integers(0, 9)) == 0:
        return _spoil_bytes(draw, json.dumps(content()))
    made = draw(contents())
    return json.dumps(made, ensure_ascii=draw(st.booleans())).encode('utf-8', 'surrogatepass')


def difference(data: bytes) -> str:
    """Where a spoilt file differs from the sound one, for messages."""
    try:
        made = json.loads(data)
    except (ValueError, RecursionError):
        return f'{len(data)} bytes, which begin {data[:40]!r} and end {data[-40:]!r}'
    return '; '.join(_differences(content(), made, '')) or 'no difference'


def _differences(one, other, place):
    if type(one) is type(other) and isinstance(one, dict):
        for key in dict.fromkeys([*one, *other]):
            if key not in other:
                yield f'{place}.{key} removed'
            elif key not in one:
                yield f'{place}.{key} = {other[key]!r:.60} added'
            else:
                yield from _differences(one[key], other[key], f'{place}.{key}')
    elif type(one) is type(other) and isinstance(one, list) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _differences(a, b, f'{place}.{i}')
    elif repr(one) != repr(other):
        yield f'{place} = {other!r:.80} (was {one!r:.40})'
