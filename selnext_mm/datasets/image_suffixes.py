"""Which files are images: one list for every command and data set."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from selnext_mm.errors import UserError

IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm'),
)
# Images from phones, cameras and drawing programs that OpenCV does not read.
UNREAD_SUFFIXES = (
    *('.heic', '.heif', '.avif', '.jxl', '.jp2', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.psd'),
    '.svg',
)
# Files that predict writes (the first and one of the others), and its folder of drawn images.
PREDICTED, BESIDE, DRAWN = 'predictions.json', {'results.json', 'predictions.csv'}, 'pictures'


def of_a_prediction(names: Iterable[str]) -> bool:
    """Whether ``names`` are those of a folder that predict has written."""
    names = set(names)
    return PREDICTED in names and bool(BESIDE & names)


def refuse_unlisted(error: OSError) -> None:
    """For ``os.walk``, which skips unreadable folders: raise a :class:`UserError` instead."""
    raise UserError(
        f'{error.filename}: cannot be listed ({error.strerror or error}); change its permissions, '
        'or name other folders'
    ) from error


def paths_below(folder: Path) -> Iterator[Path]:
    """All files and folders below ``folder``, in any order; links to folders are not followed.

    Images that predict has drawn, in a prediction folder, are left out, since they contain boxes.

    Raises:
        UserError: for a folder that may not be read.
    """
    for where, folders, files in os.walk(folder, onerror=refuse_unlisted):
        if DRAWN in folders and of_a_prediction(files):
            folders.remove(DRAWN)
        for name in (*folders, *files):
            yield Path(where, name)


def is_image(path: Path) -> bool:
    """Whether the name of ``path`` is that of an image; hidden files do not count."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.')


def is_special(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a pipe, a socket or a device; opening a pipe may block forever."""
    return not os.path.isfile(path) and not os.path.isdir(path) and os.path.exists(path)


def is_image_file(path: Path) -> bool:
    """Whether a listing of images includes ``path``; broken links do, so that they are reported."""
    return is_image(path) and not path.is_dir() and not is_special(path)


def is_unread(path: Path) -> bool:
    """Whether ``path`` is an image of an unsupported format, which has to be reported."""
    named = path.suffix.lower() in UNREAD_SUFFIXES and not path.name.startswith('.')
    return named and path.is_file()
