"""The pixels of an image as training sees them, for all that draws or judges images."""

import io
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF
UPRIGHT = 1
SIDES_SWAPPED = (5, 6, 7, 8)
DARK = 32  # largest value of 255 up to which an image is all but black


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """(height, width, 3) uint8, as mmcv's loader gives it: turned as EXIF says, 8 bits, no alpha.

    Raises:
        OSError: if the file cannot be read, or is no image.
    """
    data = Path(path).read_bytes()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise OSError(f'cannot be decoded: {getattr(error, "err", None) or error}') from error
    if image is None:
        raise OSError('not an image that OpenCV can read')
    return np.ascontiguousarray(image[..., ::-1])


@cache
def follows_exif(format: str) -> bool:
    """Does OpenCV turn images of ``format``, as Pillow calls it, as their EXIF orientation says?"""
    exif, file = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = SIDES_SWAPPED[1]
    try:
        Image.new('RGB', (16, 8)).save(file, format, exif=exif)
    except (OSError, KeyError, ValueError):  # a format that Pillow does not write
        return True
    image = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return image is None or image.shape[:2] == (16, 8)


class Peculiarities(NamedTuple):
    """What training sees otherwise than most programs show it.

    Attributes:
        orientation: the EXIF orientation that the file is marked with; 1 is upright.
        largest: value of 255 as training sees it where the file has 16 bits, else None.
        followed: whether training turns the image as it is marked.
    """

    orientation: int = UPRIGHT
    largest: int | None = None
    followed: bool = True


def peculiarities(path: str | os.PathLike) -> Peculiarities:
    """Those of an image; none for what cannot be read."""
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(ORIENTATION, UPRIGHT)
            deep = picture.mode.startswith('I') or picture.mode == 'F'
            followed = orientation == UPRIGHT or follows_exif(picture.format or '')
        # Pillow gives a PNG of three times 16 bits as 8.
        deep |= data.startswith(b'\x89PNG') and data[24] == 16
        return Peculiarities(orientation, int(read_rgb(path).max()) if deep else None, followed)
    # Whatever is wrong with the file is reported by those who need its pixels.
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError):
        return Peculiarities()


def is_dark(pixels: np.ndarray, path: str | os.PathLike) -> bool:
    """Has the file of ``pixels`` 16 bits, of which 8 are left that are all but black?"""
    return bool(pixels.max() < DARK) and peculiarities(path).largest is not None
