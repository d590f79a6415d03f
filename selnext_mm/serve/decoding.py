"""A body as an image: refused before it costs memory, turned as its EXIF orientation says."""

import io
import warnings

import cv2
import numpy as np
from PIL import Image

from selnext_mm.serve.limits import Limits, RefusedError

FORMATS = {'JPEG': 'image/jpeg', 'PNG': 'image/png', 'WEBP': 'image/webp', 'BMP': 'image/bmp'}
# Some programs send the old name, or none that says anything.
ACCEPTED = {*FORMATS.values(), 'image/jpg', 'application/octet-stream'}
KINDS = ', '.join(FORMATS.values())


def check_type(content_type: str | None) -> None:
    """Refuse (415) what does not say that it is an image of a known kind."""
    kind = (content_type or '').partition(';')[0].strip().lower()
    if kind not in ACCEPTED:
        raise RefusedError(415, f'Content-Type {kind or "is missing"}; send the bytes of {KINDS}')


def decode(body: bytes, limits: Limits) -> np.ndarray:
    """(H, W, 3) uint8, BGR, the same pixels as ``selnext_mm.runtime.pictures.read_picture``.

    Raises:
        RefusedError: 413 for too many pixels, 415 for another format, 422 for a broken image.
    """
    if not body:
        raise RefusedError(422, 'the body is empty; send the bytes of an image')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of many pixels, which are counted here
            with Image.open(io.BytesIO(body), formats=tuple(FORMATS)) as picture:
                width, height = picture.size
    # Pillow's decoders raise errors of many kinds at broken headers.
    except Exception as error:
        if isinstance(error, Image.DecompressionBombError):
            raise RefusedError(
                413, f'the image has more than {limits.max_pixels} pixels'
            ) from error
        raise RefusedError(415, f'the body is no image of a known kind ({KINDS})') from error
    if width * height > limits.max_pixels:
        raise RefusedError(
            413, f'{width} x {height} pixels; at most {limits.max_pixels} are taken. Resize it'
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise RefusedError(422, 'the image cannot be decoded; is it complete?')
    return pixels
