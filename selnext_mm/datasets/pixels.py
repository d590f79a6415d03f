"""The pixels of an image as training sees them, for all that draws or judges images."""

import io
import os
from pathlib import Path

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


def peculiarities(path: str | os.PathLike) -> tuple[int, int | None]:
    """(EXIF orientation, largest value of 255 as training sees it where the file has 16 bits).

    (1, None) for an image that is upright and has 8 bits, and for what cannot be read.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(ORIENTATION, UPRIGHT)
            deep = picture.mode.startswith('I') or picture.mode == 'F'
        # Pillow gives a PNG of three times 16 bits as 8.
        deep |= data.startswith(b'\x89PNG') and data[24] == 16
        return orientation, int(read_rgb(path).max()) if deep else None
    # Whatever is wrong with the file is reported by those who need its pixels.
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError):
        return UPRIGHT, None


def is_dark(pixels: np.ndarray, path: str | os.PathLike) -> bool:
    """Has the file of ``pixels`` 16 bits, of which 8 are left that are all but black?"""
    return bool(pixels.max() < DARK) and peculiarities(path)[1] is not None
