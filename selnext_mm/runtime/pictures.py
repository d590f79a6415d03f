"""Prepare images as a model's test pipeline does, without mmcv but with the same pixels.

The steps are those of the file's metadata (``selnext_mm.export.pipeline``). mmcv resizes with
OpenCV or with Pillow, as the config says; their results differ, so both are used here.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from selnext_mm.inference.images import UNDECODED, UnpreparedError, check_narrow

CV2 = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}


def read_picture(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8, BGR, rotated according to its EXIF orientation.

    Raises:
        UnpreparedError: if OpenCV cannot read it.
    """
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise UnpreparedError(UNDECODED)
    return pixels


def resized_to(pixels: np.ndarray, width: int, height: int, step: dict[str, Any]) -> np.ndarray:
    """The same as ``mmcv.imresize``."""
    if step['backend'] == 'pillow':
        method = Image.Resampling[step['interpolation'].upper()]
        return np.asarray(Image.fromarray(pixels).resize((width, height), method))
    return cv2.resize(pixels, (width, height), interpolation=CV2[step['interpolation']])


def target_size(height: int, width: int, step: dict[str, Any]) -> tuple[int, int]:
    """(width, height) after a resizing step, rounded as in mmcv."""
    if step['op'] == 'resize_edge':
        by_width = dict(short=width < height, long=width > height, width=True, height=False)
        if by_width[step['edge']]:
            return step['scale'], int(step['scale'] * height / width)
        return int(step['scale'] * width / height), step['scale']
    if not step['keep_ratio']:
        return step['width'], step['height']
    long, short = max(step['width'], step['height']), min(step['width'], step['height'])
    factor = min(long / max(height, width), short / min(height, width))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def prepare(pixels: np.ndarray, steps: list[dict[str, Any]]) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, w, 3) uint8, in the same channel order.

    Raises:
        UnpreparedError: for an image that is too narrow.
    """
    before = f'{pixels.shape[1]} x {pixels.shape[0]}'
    check_narrow(pixels.shape[1], pixels.shape[0])
    for step in steps:
        height, width = pixels.shape[:2]
        if step['op'] == 'center_crop':
            h, w = min(step['height'], height), min(step['width'], width)
            # round() rounds halves to the even number, as mmcv's CenterCrop does.
            top, left = round((height - h) / 2), round((width - w) / 2)
            pixels = pixels[top : top + h, left : left + w]
        else:
            size = target_size(height, width, step)
            if min(size) < 1:
                raise UnpreparedError(
                    f'{before} pixels are too narrow: the model would get {size[0]} x {size[1]}'
                )
            pixels = resized_to(pixels, *size, step)
    return pixels
