"""Sizes of images as training loads them: from the headers, camera turns (EXIF) included."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from selnext_mm.datasets.check.image_files import inspect
from selnext_mm.datasets.pixels import ORIENTATION, follows_exif

BATCH = 64  # images per task of a thread
WORKERS = 8  # headers are waited for, on a network file system


class ImageSize(NamedTuple):
    """Pixels of an image as mmdet loads it, and how that was turned from what is stored.

    ``orientation`` is 1 where the loaded image is the stored one.
    """

    width: int
    height: int
    orientation: int = 1


def image_size(path: str | os.PathLike) -> ImageSize | str:
    """The size, or in words why the file is no image that can be loaded.

    Only the header is read, but for images with an EXIF orientation, which are decoded.
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
