"""Slices of an image, and the conversion of objects from a slice to the image."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from selnext_mm.errors import UserError

Window: TypeAlias = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels
Sides: TypeAlias = tuple[bool, bool, bool, bool]  # left, top, right, bottom
WHOLE: Sides = (False, False, False, False)
# A side is at the border of its slice if it is within this many pixels of it, or within this share
# of the box's extent: predicted boxes end near the border, not exactly at it.
NEAR_PIXELS, NEAR_SHARE = 3.0, 0.05


@dataclass
class Piece:
    """An object, in pixels of the image.

    ``sources`` are the slices in which it was found; ``cut`` are the sides where a slice ends and
    the object may continue.
    """

    item: dict[str, Any]
    sources: frozenset[int]
    cut: Sides = WHOLE

    @property
    def whole(self) -> bool:
        return not any(self.cut)


def _starts(length: int, size: int, overlap: float) -> list[int]:
    if length <= size:
        return [0]
    step = max(1, round(size * (1 - overlap)))
    return [*range(0, length - size, step), length - size]


def windows(height: int, width: int, size: int, overlap: float) -> list[Window]:
    """Slices of ``size`` x ``size`` that cover an image, rows from the top.

    Neighbours share ``overlap`` of their side, the last two of a row or column more. All have the
    same shape; if a side of the image is shorter than ``size``, so is that side of the slices.
    """
    return [
        (x, y, min(x + size, width), min(y + size, height))
        for y in _starts(height, size, overlap)
        for x in _starts(width, size, overlap)
    ]


def _mask_utils() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError('slices need pycocotools: pip install pycocotools') from error
    return mask


def moved_mask(rle: dict, x: int, y: int, height: int, width: int) -> dict:
    """Convert a compressed RLE of a slice with its corner at (x, y) to one of the image.

    It works on the runs: no image of (height, width) is created.
    """
    mask_utils = _mask_utils()
    left, top, wide, high = (round(v) for v in mask_utils.toBbox(rle).tolist())
    inside = mask_utils.decode(rle)[top : top + high, left : left + wide]
    # A row of zeros ends the runs of each column.
    flat = np.zeros((high + 1, wide), np.int8, order='F')
    flat[:high] = inside
    edges = np.flatnonzero(np.diff(flat.ravel(order='F'), prepend=0, append=0))
    column, row = np.divmod(edges, high + 1)
    edges = (column + left + x) * height + row + top + y
    # Runs that meet at the bottom of one column and the top of the next are merged.
    between = np.flatnonzero(edges[1:-1:2] == edges[2::2]) if len(edges) else edges
    edges = np.delete(edges, np.concatenate([2 * between + 1, 2 * between + 2]))
    counts = np.diff(edges, prepend=0).tolist()
    last = int(edges[-1]) if len(edges) else 0
    if last < height * width:
        counts.append(height * width - last)
    whole = mask_utils.frPyObjects(dict(size=[height, width], counts=counts), height, width)
    return dict(size=[height, width], counts=whole['counts'].decode())


def in_picture(item: dict, window: Window, height: int, width: int, source: int) -> Piece:
    """An object of the slice ``window`` in an image of (height, width)."""
    x0, y0, x1, y1 = window
    x, y, w, h = item['bbox']
    cut = (
        x0 > 0 and x <= max(NEAR_PIXELS, NEAR_SHARE * w),
        y0 > 0 and y <= max(NEAR_PIXELS, NEAR_SHARE * h),
        x1 < width and x1 - x0 - (x + w) <= max(NEAR_PIXELS, NEAR_SHARE * w),
        y1 < height and y1 - y0 - (y + h) <= max(NEAR_PIXELS, NEAR_SHARE * h),
    )
    item = dict(item, bbox=[x + x0, y + y0, w, h])
    if 'segmentation' in item:
        item['segmentation'] = moved_mask(item['segmentation'], x0, y0, height, width)
    return Piece(item, frozenset([source]), cut)
