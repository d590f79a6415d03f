"""The pixels of an image as training sees them, for all code that draws or checks images."""

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
DARK = 32  # an image whose largest value (of 255) is at most this is almost black


def read_rgb(path: str | os.PathLike) -> np.ndarray:
    """(height, width, 3) uint8 as from mmcv's loader: rotated by EXIF, 8 bits, no alpha channel.

    Raises:
        OSError: if the file cannot be read, or is not an image.
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
    """Whether OpenCV applies the EXIF orientation to images of ``format`` (Pillow's name)."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = SIDES_SWAPPED[1]
    try:
        Image.new('RGB', (16, 8)).save(file, format, exif=exif)
    except (OSError, KeyError, ValueError):  # a format that Pillow does not write
        return True
    image = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return image is None or image.shape[:2] == (16, 8)


class Peculiarities(NamedTuple):
    """How training sees an image differently from most programs.

    Attributes:
        orientation: the EXIF orientation of the file; 1 is upright.
        largest: largest value (of 255) in training if the file has 16 bits, else None.
        followed: whether training applies the orientation.
    """

    orientation: int = UPRIGHT
    largest: int | None = None
    followed: bool = True


def peculiarities(path: str | os.PathLike) -> Peculiarities:
    """The peculiarities of an image; none if it cannot be read."""
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(ORIENTATION, UPRIGHT)
            deep = picture.mode.startswith('I') or picture.mode == 'F'
            followed = orientation == UPRIGHT or follows_exif(picture.format or '')
        # Pillow reads a PNG of 3 x 16 bits as 8 bits.
        deep |= data.startswith(b'\x89PNG') and data[24] == 16
        return Peculiarities(orientation, int(read_rgb(path).max()) if deep else None, followed)
    # Code that needs the pixels will report whatever is wrong with the file.
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError):
        return Peculiarities()


def is_dark(pixels: np.ndarray, path: str | os.PathLike) -> bool:
    """Whether the file has 16 bits and its 8-bit ``pixels`` are almost black."""
    return bool(pixels.max() < DARK) and peculiarities(path).largest is not None
