"""Running a model on an image slice by slice, and once on the whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from selnext_mm.errors import UserError
from selnext_mm.slicing.merge import merge
from selnext_mm.slicing.windows import Piece, in_picture, windows

SMALLEST = 32


@dataclass(frozen=True)
class Slicing:
    """Slices of ``size`` x ``size`` pixels; neighbours share ``overlap`` of their side.

    The model gets ``batch`` slices at a time, so memory does not grow with the image.

    Raises:
        UserError: for a size below 32, an overlap that is not in 0..0.9, a batch below 1.
    """

    size: int = 640
    overlap: float = 0.2
    batch: int = 4

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise UserError(f'--slice {self.size}; expected {SMALLEST} pixels or more')
        if not 0 <= self.overlap <= 0.9:
            raise UserError(f'--overlap {self.overlap:g}; expected a share from 0 to 0.9')
        if self.batch < 1:
            raise UserError(f'a batch of {self.batch} slices; expected 1 or more')


def find_in_slices(
    pixels: np.ndarray,
    find_many: Callable[[Sequence[np.ndarray]], Sequence[list[dict]]],
    slicing: Slicing,
) -> list[dict]:
    """The objects of an image (H, W, C), found in its slices and in the whole of it.

    Args:
        pixels: the image, in the form that ``find_many`` takes.
        find_many: a model: images of one shape -> the objects of each, dicts with ``label``,
            ``score``, ``bbox`` (x, y, w, h) and perhaps ``segmentation`` (compressed RLE).
        slicing: size and overlap of the slices.

    An image that is no larger than a slice goes through the model as it is.
    """
    height, width = pixels.shape[:2]
    places = windows(height, width, slicing.size, slicing.overlap)
    whole = find_many([pixels])[0]
    if len(places) == 1:
        return whole
    pieces = [Piece(item, frozenset([-1])) for item in whole]
    for start in range(0, len(places), slicing.batch):
        some = places[start : start + slicing.batch]
        crops = [np.ascontiguousarray(pixels[y0:y1, x0:x1]) for x0, y0, x1, y1 in some]
        for number, (window, found) in enumerate(zip(some, find_many(crops), strict=True), start):
            pieces += [in_picture(item, window, height, width, number) for item in found]
    return merge(pieces)
