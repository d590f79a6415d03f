"""Decode a body as an image; too large images are refused before they take memory."""

import io
import warnings

import cv2
import numpy as np
from PIL import Image

from selnext_mm.serve.limits import Limits, RefusedError
from selnext_mm.text import short

FORMATS = {'JPEG': 'image/jpeg', 'PNG': 'image/png', 'WEBP': 'image/webp', 'BMP': 'image/bmp'}
# Some clients send the old name for JPEG, or the general one for any file.
ACCEPTED = {*FORMATS.values(), 'image/jpg', 'application/octet-stream'}
KINDS = ', '.join(FORMATS.values())


def check_type(content_type: str | None, encoding: str | None = None) -> None:
    """Refuse (415) a type that is not one of the image formats, and a compressed body."""
    if (encoding or 'identity').strip().lower() != 'identity':
        raise RefusedError(
            415, f'Content-Encoding {short(encoding)}; send the bytes of the image as they are'
        )
    kind = (content_type or '').partition(';')[0].strip().lower()
    if kind not in ACCEPTED:
        raise RefusedError(
            415,
            f'Content-Type {short(kind) or "is missing"}; send the bytes of {KINDS}, and name '
            'it in that header',
        )


def decode(body: bytes, limits: Limits) -> np.ndarray:
    """(H, W, 3) uint8, BGR: the same pixels as ``selnext_mm.runtime.pictures.read_picture`` gives.

    Raises:
        RefusedError: 413 for too many pixels, 415 for another format, 422 for a broken image.
    """
    if not body:
        raise RefusedError(422, 'the body is empty; send the bytes of an image')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about many pixels, which are counted here
            with Image.open(io.BytesIO(body), formats=tuple(FORMATS)) as picture:
                width, height = picture.size
    # Pillow's decoders raise many types of errors for broken headers.
    except Exception as error:
        if isinstance(error, Image.DecompressionBombError):
            raise RefusedError(
                413, f'the image has more than {limits.max_pixels} pixels'
            ) from error
        raise RefusedError(
            415, f'the body is not an image of a supported format ({KINDS})'
        ) from error
    if width * height > limits.max_pixels:
        raise RefusedError(
            413, f'{width} x {height} pixels; at most {limits.max_pixels} are allowed. Resize it'
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise RefusedError(422, 'the image cannot be decoded; is it complete?')
    return pixels
