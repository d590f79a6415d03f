"""Find the images that files, folders and globs name, and check that they can be read."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from selnext_mm.datasets.image_suffixes import (
    IMAGE_SUFFIXES,
    is_image_file,
    is_special,
    is_unread,
    paths_below,
)
from selnext_mm.errors import UserError

# A model that scales the shorter side would need gigabytes for a line of pixels.
LONGEST = 1000  # maximum ratio of the longer to the shorter side
UNDECODED = 'OpenCV cannot read its pixels; convert it to .jpg or .png with 8 bits'


class UnpreparedError(UserError):
    """A valid image that cannot be resized to the input size of a model."""


def check_narrow(width: int, height: int) -> None:
    """Raise :class:`UnpreparedError` if one side is more than 1000 times the other."""
    if max(width, height) > LONGEST * min(width, height):
        raise UnpreparedError(
            f'{width} x {height} pixels: one side is more than {LONGEST} times the other; '
            'cut the image'
        )


@dataclass(frozen=True)
class ImageFile:
    """An image: its path, and its name relative to the given folder."""

    path: Path
    name: str


# Files, folders and globs, or images that were found.
Images: TypeAlias = str | Path | Sequence[str | Path | ImageFile]


def _expand(entry: str | Path | ImageFile) -> list[ImageFile]:
    if isinstance(entry, ImageFile):
        return [entry]
    path = Path(entry).expanduser()
    if path.is_dir():
        inside = sorted(p for p in paths_below(path) if is_image_file(p) or is_unread(p))
        if not inside:
            raise UserError(f'no images ({", ".join(IMAGE_SUFFIXES)}) in {path}')
        return [ImageFile(p, p.relative_to(path).as_posix()) for p in inside]
    if not path.suffix and not path.exists() and not glob.has_magic(str(path)):
        raise UserError(
            f'{path}: no such file or folder; check the path (working directory: {Path.cwd()})'
        )
    # The name of an existing file may have brackets or stars.
    if path.exists() or not glob.has_magic(str(path)):
        return [ImageFile(path, path.name)]
    found = sorted(Path(p) for p in glob.glob(str(path), recursive=True))
    found = [p for p in found if is_image_file(p) or is_unread(p)]
    if not found:
        raise UserError(f'no images ({", ".join(IMAGE_SUFFIXES)}) match {str(entry)!r}')
    return [ImageFile(p, p.name) for p in found]


def list_images(entries: Images) -> list[ImageFile]:
    """The images that files, folders (recursively) and globs name, each once.

    A file that does not exist stays in the list: it is reported with the unreadable ones.

    Raises:
        UserError: for a folder or a glob without images, an unreadable folder, and for no entries
        at all.
    """
    if isinstance(entries, str | os.PathLike) or not isinstance(entries, Iterable):
        entries = [entries]
    entries = list(entries)
    if not entries:
        raise UserError('no images given; name files, folders or globs')
    for entry in entries:
        if isinstance(entry, ImageFile):
            continue
        if not isinstance(entry, str | os.PathLike):
            raise UserError(
                f'a {type(entry).__name__} is no name of an image; give files, folders or globs'
            )
        if not os.fspath(entry):  # Path() would be the current folder
            raise UserError('an empty name among the images; give files, folders or globs')
    found: dict[Path, ImageFile] = {}
    for entry in entries:
        for image in _expand(entry):
            found.setdefault(image.path.resolve(), image)
    return list(found.values())


def why_unreadable(path: Path) -> str | None:
    """Why an image cannot be read completely, or None.

    OpenCV, which the pipelines read with, silently fills missing parts with grey.
    """
    if not path.exists():
        return 'no such file'
    if path.is_dir():
        return 'a directory'
    if is_special(path):
        return 'a pipe or a device'
    try:
        if not path.stat().st_size:
            return 'empty'
        with Image.open(path) as picture:
            check_narrow(*picture.size)
            picture.draft('RGB', (1, 1))  # decodes JPEG at an eighth of the size, to the end
            picture.load()
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6  # where Pillow raises this
        return f'more than {most} megapixels, which are not read'
    except UnpreparedError as error:
        return str(error)
    except (OSError, SyntaxError, ValueError) as error:
        # Pillow's own message, unless it only says that the format is unknown.
        text = getattr(error, 'strerror', None) or str(error)
        if 'cannot identify' not in text:
            return text
        if is_unread(path):
            return f'{path.suffix.lower()} is not read; convert it to .jpg or .png'
        return 'not an image'
    return None


def why_unprepared(error: Exception) -> str:
    """The one-line message for an image on which the pipeline fails."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, AssertionError) and 'failed to load image' in str(error):  # from mmcv
        return UNDECODED
    text = str(error).splitlines()
    return f'{type(error).__name__}: {text[0] if text else "no message"}'
