"""One normal form of COCO content for all code: unusual notation with a clear meaning is mended.

COCO files come from many tools. Unusual notation that can only mean one thing is corrected in
memory, before mmdet, pycocotools and faster-coco-eval see it; the file is never changed:

- numbers as strings ("12.5") or as floats where an integer is meant (640.0), in sizes, boxes,
areas, coordinates and run lengths;
- ``iscrowd`` and ``ignore`` that are missing, null, true, false, or strings: without ``iscrowd``
pycocotools fails, and the string "0" would count as true;
- ``area`` that is missing or null: the box's width x height;
- annotations without an id get unused ids;
- run lengths that are the printed form of Python's bytes ("b'...'").

Ids are opaque: they are never converted, so "1" and 1 are two ids. What is ambiguous stays as it
is, for :mod:`selnext_mm.datasets.check` to refuse.
"""

import ast
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite

from selnext_mm.datasets.coco_file import KEYS, read_coco
from selnext_mm.errors import UserError
from selnext_mm.text import preview, short

NUMBERS = (int, float)
PLURALS = {'image': 'images', 'category': 'categories'}
TRUE, FALSE = {'1', 'true', 'yes'}, {'0', 'false', 'no', ''}
MIN_NUMBERS = 6  # of a polygon: three points
# Replaces masks that mmdet leaves out: mmdet also leaves out an odd number of coordinates, and
# pycocotools draws two points, which contain no pixel.
NO_MASK = (0, 0, 0, 0, 0)


def number(value):
    """``value`` as a number if it is a number or a string of one; else ``value`` itself."""
    if type(value) is float:
        return int(value) if value.is_integer() else value
    if not isinstance(value, str):
        return value
    try:
        result = float(value)
    except ValueError:
        return value
    return number(result) if isfinite(result) else value


def numbers(values):
    """A list with strings turned into numbers; the list itself if it has no strings."""
    if isinstance(values, list) and any(type(v) is str for v in values):
        return [number(v) for v in values]
    return values


def flag(value):
    """0 or 1 if ``value`` stands for one of them; else ``value`` itself."""
    if value is None or value is False:
        return 0
    if value is True:
        return 1
    if isinstance(value, str):
        text = value.strip().lower()
        return 1 if text in TRUE else 0 if text in FALSE else value
    return int(value) if value in (0, 1) else value


def _is_box(value) -> bool:
    return isinstance(value, list) and len(value) == 4 and set(map(type, value)) <= set(NUMBERS)


def _plain_rle(rle: dict, changes: Counter) -> dict:
    counts, size = rle.get('counts'), rle.get('size')
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"') and len(counts) > 3:
        try:
            text = ast.literal_eval(counts).decode('ascii')
        except (SyntaxError, ValueError, UnicodeDecodeError, AttributeError):
            text = counts
        if text != counts:
            changes["run lengths are written as b'...'"] += 1
            rle = {**rle, 'counts': text}
    elif isinstance(counts, list) and not set(map(type, counts)) <= {int}:
        rle = {**rle, 'counts': [number(v) for v in counts]}
    if isinstance(size, list) and not set(map(type, size)) <= {int}:
        rle = {**rle, 'size': [number(v) for v in size]}
    return rle


def _plain_polygons(polygons: list, changes: Counter) -> list:
    if any(isinstance(p, list) and str in set(map(type, p)) for p in polygons):
        changes['coordinates are written as text'] += 1
        return [numbers(p) for p in polygons]
    return polygons


def plain_segmentation(segmentation, changes: Counter | None = None):
    """A segmentation with strings turned into numbers, and compressed run lengths into a string."""
    changes = Counter() if changes is None else changes
    if isinstance(segmentation, dict):
        return _plain_rle(segmentation, changes)
    return (
        _plain_polygons(segmentation, changes) if isinstance(segmentation, list) else segmentation
    )


def _plain_annotation(a: dict, changes: Counter) -> None:
    crowd = a.get('iscrowd')
    if type(crowd) is not int:
        if 'iscrowd' not in a or crowd is None:
            changes['iscrowd is missing, and counts as 0'] += 1
        a['iscrowd'] = flag(crowd)
    if 'ignore' in a:
        a['ignore'] = flag(a['ignore'])
    box, area = a.get('bbox'), a.get('area')
    if isinstance(box, list) and any(type(v) is str for v in box):
        a['bbox'] = box = numbers(box)
        changes['boxes are written as text'] += 1
    if isinstance(area, str):
        a['area'] = number(area)
    elif area is None and _is_box(box):
        a['area'] = box[2] * box[3]
        changes['area is missing, and is taken as width x height of the box'] += 1
    if isinstance(a.get('segmentation'), dict | list):
        a['segmentation'] = plain_segmentation(a['segmentation'], changes)


def _number_annotations(annotations: list, changes: Counter) -> None:
    """Add ids to the annotations that have none."""
    bare = [a for a in annotations if isinstance(a, dict) and a.get('id') is None]
    if not bare:
        return
    known = (a.get('id') for a in annotations if isinstance(a, dict))
    following = int(max((k for k in known if is_id(k) and not isinstance(k, str)), default=0)) + 1
    for place, a in enumerate(bare):
        a['id'] = following + place
    changes['annotations are without an id, and are numbered'] += len(bare)


def normalise(content: dict) -> Counter:
    """Normalise ``content`` in place; return descriptions of the changes with their counts."""
    changes: Counter = Counter()
    for image in content.get('images') or ():
        if isinstance(image, dict):
            for key in ('width', 'height'):
                if type(image.get(key, 0)) is not int:
                    image[key] = number(image[key])
    annotations = content.get('annotations')
    if isinstance(annotations, list):
        for a in annotations:
            if isinstance(a, dict):
                _plain_annotation(a, changes)
        _number_annotations(annotations, changes)
    return changes


def is_id(value) -> bool:
    """Whether ``value`` may be an id: strings and finite numbers may; True, null, lists may not."""
    if isinstance(value, str):
        return True
    return type(value) is int or (type(value) is float and isfinite(value))


def check_records(content: dict, path: str | os.PathLike) -> None:
    """Raise :class:`UserError` for images and categories that cannot be told apart by their ids."""
    for key, one, text in (('images', 'image', 'file_name'), ('categories', 'category', 'name')):
        records = content.get(key) or []
        good = [
            r
            for r in records
            if isinstance(r, dict) and is_id(r.get('id')) and isinstance(r.get(text), str)
        ]
        if len(good) < len(records):
            known = set(map(id, good))
            bad = next(r for r in records if id(r) not in known)
            raise UserError(
                f'{path}: {len(records) - len(good)} of {len(records)} {key} are without an id (a '
                f'number or a text) or a {text}: {short(bad, 80)}. Complete them; "selnext-mm '
                'check-data" shows all'
            )
        twice = [i for i, n in Counter(r['id'] for r in good).items() if n > 1]
        if twice:
            raise UserError(
                f'{path}: the {one} id {preview(twice)} occurs more than once; give every {one} an '
                'id of its own'
            )
        if mixed_ids(r['id'] for r in good):
            raise UserError(
                f'{path}: some {one} ids are texts and some are numbers, which cannot be put in '
                'one order; write all of them in one way'
            )


def mixed_ids(ids: Iterable) -> bool:
    """Whether ids are partly strings and partly numbers, which numpy and so evaluations mix up."""
    return len({isinstance(i, str) for i in ids}) > 1


def for_scoring(content: dict, path: str | os.PathLike = '') -> dict:
    """``content``, normalised, in the form that pycocotools and faster-coco-eval score correctly.

    Both use the annotation id 0 for "no match", and compute with ids, so annotations are numbered
    from 1, in place. Annotations of an image or category that the file does not list are left out.
    So are polygons of fewer than three points, as in mmdet's training (pycocotools would read four
    numbers as a box). An object without other polygons, or with run lengths that lack counts or
    size, gets an empty mask, which mmdet leaves out.

    Raises:
        UserError: for annotations that are not dicts, or repeat an id.
    """
    annotations = content.get('annotations') or []
    ids = [a.get('id') if isinstance(a, dict) else None for a in annotations]
    good = [key for key in ids if is_id(key)]
    if len(good) < len(ids) or len(set(good)) < len(good):
        twice = [key for key, n in Counter(good).items() if n > 1]
        what = f'repeat an id ({preview(twice)})' if twice else 'are no records with an id'
        raise UserError(
            f'{path}: annotations {what}; every annotation has an id of its own. "selnext-mm '
            'check-data" shows them'
        )
    for key in ('image', 'category'):
        records = [r for r in content.get(PLURALS[key]) or () if isinstance(r, dict)]
        known = {r['id']: r['id'] for r in records if is_id(r.get('id'))}
        if not known:
            continue
        found = ((a, a.get(f'{key}_id')) for a in annotations)
        annotations = [a for a, i in found if is_id(i) and i in known]
        for a in annotations:
            a[f'{key}_id'] = known[a[f'{key}_id']]  # 1 instead of 1.0
    content['annotations'] = annotations
    for place, a in enumerate(annotations, 1):
        a['id'] = place
        if 'segmentation' in a:
            a['segmentation'] = drawable(a['segmentation'])
    return content


def drawable(segmentation):
    """The part of a segmentation that pycocotools can draw and mmdet uses in training."""
    if isinstance(segmentation, list) and segmentation:
        usable = [
            p
            for p in segmentation
            if not isinstance(p, list) or (len(p) >= MIN_NUMBERS and len(p) % 2 == 0)
        ]
        if len(usable) < len(segmentation):
            return usable or [list(NO_MASK)]
    elif isinstance(segmentation, dict) and not has_runs(segmentation):
        return [list(NO_MASK)]
    return segmentation


def has_runs(rle: dict) -> bool:
    """Whether ``rle`` has run lengths and a size; mmdet leaves out the others."""
    return isinstance(rle.get('counts'), list | str) and rle.get('size') is not None


def load_coco(path: str | os.PathLike, keys: Sequence[str] = KEYS) -> dict:
    """The normalised content of a COCO file.

    Raises:
        UserError: see :func:`~selnext_mm.datasets.coco_file.read_coco`.
    """
    content = read_coco(path, keys)
    normalise(content)
    return content
