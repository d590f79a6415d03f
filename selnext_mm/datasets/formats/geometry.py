"""Boxes and masks: decimal precision, clipping, EXIF rotation."""

import math
from collections.abc import Sequence

from selnext_mm.datasets.check.masks import decoded
from selnext_mm.datasets.formats.records import LabelledObject, Tally

TOLERANCE = 1.0  # pixels that a box may exceed the image; COCO's boxes do by fractions
MIN_SIDE = 1.0  # pixels; mmdet leaves smaller boxes out
DECIMALS = 3  # of a pixel: the finest grid to which fractions are restored
USUAL_DIGITS = 6  # decimals in YOLO files, with or without trailing zeros
MIN_NUMBERS = 6  # of a polygon: three points
FAR = 1.0  # how far a polygon may exceed the image, in image sides

# What :func:`fit` counts -> lines for the log.
TEXTS = {
    'clipped': 'boxes that reach more than a pixel beyond their image, cut at its border',
    'outside': 'boxes outside their image, or under a pixel wide or high inside it, left out',
    'no box': 'objects without a box of four finite numbers, left out',
    'bad mask': 'masks that cannot be used (fewer than three points, numbers that are not finite '
    'or far outside, run lengths of another size)',
    'turned': 'images turned by their EXIF entry and labelled as they are stored, whose labels '
    'were turned with them',
    'mirrored': 'images turned by 180 degrees or mirrored by their EXIF entry, which the image '
    'size cannot reveal; their labels are taken to refer to the image as displayed',
}


def decimals(token: str) -> int:
    """Decimal places of a written number, including its exponent: 6 for ``1.5e-5``."""
    if 'e' in token or 'E' in token:
        mantissa, _, exponent = token.lower().partition('e')
        return decimals(mantissa) - int(exponent)
    point = token.find('.')
    return len(token) - point - 1 if point >= 0 else 0


def shortest(value: float, error: float) -> float:
    """The decimal number with the fewest digits (at most 3) within ``error`` of ``value``.

    A grid is tried only if it is at least four times as wide as ``error``, so that a number on it
    is restored reliably. If none fits, ``value`` is returned.
    """
    for digits in range(DECIMALS + 1):
        if error >= 0.25 * 10.0**-digits:
            break
        rounded = round(value, digits)
        if abs(value - rounded) <= error:
            return rounded
    return value


def uncertainty(token: str, floor: int, scale: float) -> float:
    """By how much ``token * scale`` may differ from the original number: half a unit of the last
    digit, plus float64 rounding. ``floor``: digits that the file prints, without zeros."""
    return scale * (0.5 * 10.0 ** -max(decimals(token), floor) + 1e-15)


def polygon_area(polygons: Sequence[Sequence[float]]) -> float:
    """Sum of the areas (shoelace formula) in square pixels."""
    total = 0.0
    for p in polygons:
        x, y = p[::2], p[1::2]
        twice = sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))
        total += abs(twice) / 2
    return total


def polygon_box(polygons: Sequence[Sequence[float]]) -> list[float]:
    """(left, top, width, height) of all corners."""
    x = [v for p in polygons for v in p[::2]]
    y = [v for p in polygons for v in p[1::2]]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def is_finite(numbers) -> bool:
    """Whether all of ``numbers`` are finite numbers; True and False do not count."""
    try:
        return bool not in set(map(type, numbers)) and all(map(math.isfinite, numbers))
    except (TypeError, OverflowError):  # a string; an integer beyond float's range
        return False


def usable_mask(mask, width: int, height: int) -> list | dict | None:
    """The part of a COCO segmentation that can be drawn; None if there is none.

    pycocotools crashes on numbers that are not finite or far outside the image, so such polygons
    are left out.
    """
    if isinstance(mask, dict):
        counts, size = mask.get('counts'), mask.get('size')
        if not isinstance(size, list) or size != [height, width]:
            return None
        if isinstance(counts, str):
            counts = decoded(counts)
        whole = isinstance(counts, list) and all(type(c) is int and c >= 0 for c in counts)
        return mask if whole and sum(counts) == width * height else None
    if not isinstance(mask, list):
        return None
    polygons = []
    for p in mask:
        if not isinstance(p, list) or len(p) < MIN_NUMBERS or len(p) % 2 or not is_finite(p):
            continue
        x, y = p[::2], p[1::2]
        beyond = max(-min(x), max(x) - width) > FAR * width
        if not beyond and max(-min(y), max(y) - height) <= FAR * height:
            polygons.append(p)
    return polygons or None


def clip(bbox: Sequence[float], width: float, height: float) -> tuple[list[float] | None, bool]:
    """(box, whether it was clipped). A box is clipped if it exceeds the border by more than a
    pixel. It is None if less than a pixel of it is inside."""
    x, y, w, h = bbox
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if min(right - left, bottom - top, w, h) < MIN_SIDE:
        return None, False
    beyond = max(-x, -y, x + w - width, y + h - height)
    if beyond <= TOLERANCE:
        return [x, y, w, h], False
    return [left, top, right - left, bottom - top], True


def fit(
    objects: Sequence[LabelledObject], width: int, height: int, tally: Tally, where: str
) -> list[LabelledObject]:
    """The objects that mmdet can use, with boxes inside the image; the rest is counted."""
    kept = []
    for item in objects:
        mask = item.mask
        if mask:
            mask = usable_mask(mask, width, height)
            if mask is None:
                tally.add('bad mask', where)
        bbox = item.bbox
        if bbox is None and isinstance(mask, list):
            bbox = polygon_box(mask)
        if not isinstance(bbox, list | tuple) or len(bbox) != 4 or not is_finite(bbox):
            tally.add('no box', where)
            continue
        bbox, cut = clip(bbox, width, height)
        if bbox is None:
            tally.add('outside', where)
            continue
        if cut:
            tally.add('clipped', where)
        area = item.area
        if mask and not (is_finite([area]) and area > 0):
            area = _mask_area(mask)
        kept.append(item._replace(bbox=bbox, mask=mask or None, area=area if mask else None))
    return kept


def _mask_area(mask: list | dict) -> float:
    if isinstance(mask, list):
        return polygon_area(mask)
    from pycocotools import mask as mask_utils

    if isinstance(mask['counts'], list):
        mask = mask_utils.frPyObjects(mask, *mask['size'])
    return float(mask_utils.area(mask))


# EXIF orientation -> position at which the point (x, y) of a stored w x h image is shown.
TURNS = {
    2: lambda x, y, w, h: (w - x, y),
    3: lambda x, y, w, h: (w - x, h - y),
    4: lambda x, y, w, h: (x, h - y),
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}


def turn(item: LabelledObject, orientation: int, width: int, height: int) -> LabelledObject:
    """The object as shown after the stored image of width x height pixels is rotated by its EXIF
    ``orientation`` (2 to 8)."""
    point = TURNS[orientation]
    x, y, w, h = item.bbox
    (x0, y0), (x1, y1) = point(x, y, width, height), point(x + w, y + h, width, height)
    mask = item.mask
    if isinstance(mask, list):
        mask = [
            [v for i in range(0, len(p), 2) for v in point(p[i], p[i + 1], width, height)]
            for p in mask
        ]
    elif mask:
        mask = _turn_run_lengths(mask, orientation)
    sides = (h, w) if orientation >= 5 else (w, h)
    return item._replace(bbox=[min(x0, x1), min(y0, y1), *sides], mask=mask)


def _turn_run_lengths(mask: dict, orientation: int) -> dict:
    import numpy as np
    from pycocotools import mask as mask_utils

    if isinstance(mask['counts'], list):
        mask = mask_utils.frPyObjects(mask, *mask['size'])
    pixels = mask_utils.decode(mask)
    if orientation >= 5:
        pixels = pixels.T  # 5; the others are flips of it
    flips = {2: 1, 3: (0, 1), 4: 0, 6: 1, 7: (0, 1), 8: 0}
    if orientation in flips:
        pixels = np.flip(pixels, flips[orientation])
    turned = mask_utils.encode(np.asfortranarray(pixels))
    return dict(size=list(turned['size']), counts=turned['counts'].decode())
