"""Which files are images: one list for every command and data set."""

import os
from pathlib import Path

IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm'),
)
# Images too, of phones, cameras and drawing programs, which OpenCV does not read.
UNREAD_SUFFIXES = (
    *('.heic', '.heif', '.avif', '.jxl', '.jp2', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.psd'),
    '.svg',
)


def is_image(path: Path) -> bool:
    """Whether the name of ``path`` is that of an image; hidden files are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.')


def is_special(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a pipe, a socket or a device: who opens a pipe may wait for ever."""
    return not os.path.isfile(path) and not os.path.isdir(path) and os.path.exists(path)


def is_image_file(path: Path) -> bool:
    """Whether a listing of images has ``path``. A broken link counts, so that it is told."""
    return is_image(path) and not path.is_dir() and not is_special(path)


def is_unread(path: Path) -> bool:
    """Whether ``path`` is an image of a kind that is not read here, which has to be told."""
    named = path.suffix.lower() in UNREAD_SUFFIXES and not path.name.startswith('.')
    return named and path.is_file()
