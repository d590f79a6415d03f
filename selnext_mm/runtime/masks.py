"""Paste the masks of boxes into the image, as mmdet's ``FCNMaskHead`` does."""

import numpy as np

from selnext_mm.errors import UserError


def _weights(start: float, end: float, first: int, last: int, size: int) -> np.ndarray:
    """Bilinear weights (last - first, size): for each pixel, of ``size`` values from start to end.

    Value k sits at start + (k + 0.5) / size * (end - start). Beyond the outermost values the
    weights fall to 0 (``grid_sample`` with zeros as padding, align_corners=False).
    """
    centre = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide='ignore', invalid='ignore'):
        place = (centre - start) / np.float32(end - start) * 2 - 1
    place = np.where(np.isfinite(place), place, np.float32(0))
    place = ((place + 1) * size - 1) / 2
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(size, dtype=np.float32)))


def paste(mask: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float):
    """A bool (height, width) image of ``mask`` (h, w), probabilities within ``box`` (4,).

    Columns are contiguous, as COCO's run-length encoding needs it.
    """
    x0, y0, x1, y1 = (np.float32(v) for v in box)
    left, top = max(int(np.floor(x0)) - 1, 0), max(int(np.floor(y0)) - 1, 0)
    right, bottom = min(int(np.ceil(x1)) + 1, width), min(int(np.ceil(y1)) + 1, height)
    result = np.zeros((height, width), dtype=bool, order='F')
    if left < right and top < bottom:
        rows = _weights(y0, y1, top, bottom, mask.shape[0])
        columns = _weights(x0, x1, left, right, mask.shape[1])
        result[top:bottom, left:right] = rows @ mask @ columns.T >= threshold
    return result


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's compressed run-length encoding of a bool (H, W) image.

    Raises:
        UserError: if pycocotools is missing.
    """
    try:
        from pycocotools import mask as mask_utils
    except ImportError as error:
        raise UserError(
            "masks need pycocotools: pip install 'selnext_mm[runtime]', or pip install pycocotools"
        ) from error
    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=list(rle['size']), counts=rle['counts'].decode())
