"""Check that mmdet's loader can use a COCO segmentation."""

from collections.abc import Sequence
from math import isfinite

from selnext_mm.datasets.coco_content import MIN_NUMBERS, has_runs

MOST_BITS = 40  # of a run length
# What happens to an instance: it is kept, it is ignored by mmdet, or it ends the run.
FINE, IGNORED, FATAL = 'fine', 'ignored', 'fatal'
NUMBERS = {int, float}
FAR = 10  # image sizes; coordinates farther away do not belong to this image


def finite(values: Sequence) -> bool:
    """Whether all of ``values`` are finite numbers; True and False do not count."""
    try:
        # If a term is NaN or infinite, so is the sum.
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
        if not isinstance(polygon, list) or not finite(polygon):
            return FATAL, 'a polygon that is no list of finite numbers'
        # pycocotools draws outlines pixel by pixel, without a limit.
        if polygon and max(max(polygon), -min(polygon)) > FAR * max(width, height):
            return FATAL, f'a polygon more than {FAR} image sizes away'
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


def decoded(text: str) -> list[int] | None:
    """The run lengths of COCO's compressed string; None if it is invalid.

    Each character holds five bits (its code minus 48), lowest first; bit 6 says that more follow,
    bit 5 of the last is the sign. From the fourth number on, each is the difference to the number
    two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > MOST_BITS:
            return None
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift or not counts else counts


def _judge_rle(rle: dict, width: float, height: float) -> tuple[str, str]:
    counts, size = rle.get('counts'), rle.get('size')
    if not has_runs(rle):
        return IGNORED, 'run lengths without counts or size'
    if size != [height, width]:
        return FATAL, 'run lengths of another size than the image'
    if isinstance(counts, str):
        counts = decoded(counts)
        if counts is None:
            return FATAL, 'run lengths that are no encoded string'
    whole = set(map(type, counts)) <= {int} and min(counts, default=-1) >= 0
    if not whole or sum(counts) != height * width:
        return FATAL, 'run lengths that do not add up to the image'
    return FINE, ''


def judge_mask(segmentation, width: float, height: float, deep: bool = True) -> tuple[str, str]:
    """(``FINE`` | ``IGNORED`` | ``FATAL``, reason) of one annotation's ``segmentation``.

    ``deep`` checks every coordinate, and reports polygons that are empty or outside the image.
    """
    if not segmentation:
        return FATAL, 'no segmentation'
    if isinstance(segmentation, list):
        return _judge_polygons(segmentation, width, height, deep)
    if isinstance(segmentation, dict):
        return _judge_rle(segmentation, width, height)
    return FATAL, 'a segmentation that is neither polygons nor run lengths'
