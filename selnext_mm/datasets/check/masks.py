"""Is a COCO segmentation one that mmdet's loader can use?"""

from collections.abc import Sequence
from math import isfinite

# What becomes of an instance: kept, ignored by mmdet, or the end of the run.
FINE, IGNORED, FATAL = 'fine', 'ignored', 'fatal'
MIN_NUMBERS = 6  # three points
NUMBERS = {int, float}


def finite(values: Sequence) -> bool:
    """Are all of ``values`` finite numbers? True and False are none."""
    try:
        # A nan or an infinity among the terms shows in the sum.
        return set(map(type, values)) <= NUMBERS and isfinite(sum(map(float, values)))
    except OverflowError:
        return False


def _area(polygon: list) -> float:
    xs, ys = polygon[::2], polygon[1::2]
    return 0.5 * abs(
        sum(x * ys[i - 1] - xs[i - 1] * y for i, (x, y) in enumerate(zip(xs, ys, strict=True)))
    )


def _judge_polygons(polygons: list, width: float, height: float, deep: bool) -> tuple[str, str]:
    usable = []
    for polygon in polygons:
        # COCO has tens of millions of coordinates: the quick look takes the first two of each.
        if not isinstance(polygon, list) or not finite(polygon if deep else polygon[:2]):
            return FATAL, 'a polygon that is no list of finite numbers'
        if len(polygon) % 2 == 0 and len(polygon) >= MIN_NUMBERS:
            usable.append(polygon)
    if not usable:
        return IGNORED, 'no polygon of three points or more'
    if deep:
        usable = [list(map(float, p)) for p in usable]
        if not any(_area(p) > 0 for p in usable):
            return FINE, 'polygons without area'
        if not any(
            max(p[::2]) > 0 and min(p[::2]) < width and max(p[1::2]) > 0 and min(p[1::2]) < height
            for p in usable
        ):
            return FINE, 'polygons outside the image'
        if len(usable) < len(polygons):
            return FINE, 'a polygon of fewer than three points among others'
    return FINE, ''


def _judge_rle(rle: dict, width: float, height: float) -> tuple[str, str]:
    counts, size = rle.get('counts'), rle.get('size')
    if not isinstance(counts, list | str) or size is None:
        return IGNORED, 'run lengths without counts or size'
    if size != [height, width]:
        return FATAL, 'run lengths of another size than the image'
    if isinstance(counts, str):
        return (FINE, '') if counts.isascii() else (FATAL, 'run lengths that are no encoded string')
    whole = set(map(type, counts)) <= {int} and min(counts, default=-1) >= 0
    if not whole or sum(counts) != height * width:
        return FATAL, 'run lengths that do not add up to the image'
    return FINE, ''


def judge_mask(segmentation, width: float, height: float, deep: bool = True) -> tuple[str, str]:
    """(``FINE`` | ``IGNORED`` | ``FATAL``, reason) of one annotation's ``segmentation``.

    ``deep`` looks at every coordinate, and for polygons that are empty or outside the image.
    """
    if not segmentation:
        return FATAL, 'no segmentation'
    if isinstance(segmentation, list):
        return _judge_polygons(segmentation, width, height, deep)
    if isinstance(segmentation, dict):
        return _judge_rle(segmentation, width, height)
    return FATAL, 'a segmentation that is neither polygons nor run lengths'
