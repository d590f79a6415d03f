"""Sizes of images as training loads them: from the headers, including EXIF rotation."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from selnext_mm.datasets.check.image_files import inspect
from selnext_mm.datasets.pixels import ORIENTATION, follows_exif

BATCH = 64  # images per task of a thread
WORKERS = 8  # on a network file system, reading headers is mostly waiting


class ImageSize(NamedTuple):
    """Pixels of an image as mmdet loads it, and how it is rotated from the stored image.

    ``orientation`` is 1 if the image is loaded as stored.
    """

    width: int
    height: int
    orientation: int = 1


def image_size(path: str | os.PathLike) -> ImageSize | str:
    """The size, or a message why the file cannot be loaded as an image.

    Only the header is read, except for images with an EXIF orientation, which are decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            orientation = 1
            if 'exif' in picture.info or picture.format in ('TIFF', 'PNG'):
                orientation = picture.getexif().get(ORIENTATION, 1)
            followed = orientation == 1 or follows_exif(picture.format or '')
    except Exception:  # Pillow's plug-ins raise OSError, SyntaxError, ValueError, struct.error ...
        found = inspect(path)
        return found if isinstance(found, str) else ImageSize(*found)
    if not isinstance(orientation, int) or not 2 <= orientation <= 8:
        return ImageSize(width, height)
    found = inspect(path)
    return found if isinstance(found, str) else ImageSize(*found, orientation if followed else 1)


def image_sizes(
    paths: Iterable[str], advance: Callable[[int], None] = lambda n: None
) -> Iterator[ImageSize | str]:
    """:func:`image_size` of each path, in order, some at a time; ``advance(n)`` counts them."""
    paths = iter(paths)

    def batches() -> list[list[str]]:
        return [b for _ in range(2 * WORKERS) if (b := list(islice(paths, BATCH)))]

    with ThreadPoolExecutor(WORKERS) as pool:
        while tasks := batches():
            for sizes in pool.map(lambda batch: [*map(image_size, batch)], tasks):
                yield from sizes
                advance(len(sizes))
