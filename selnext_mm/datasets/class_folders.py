"""Images in ``train/<class>/`` and ``test/<class>/``: unpacking, checks, balanced subsets."""

import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from selnext_mm.datasets.image_suffixes import IMAGE_SUFFIXES, is_image_file
from selnext_mm.disk import fresh_folder, write_text
from selnext_mm.errors import UserError

SPLITS = ('train', 'test')
ARCHIVES = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz')
MAX_BYTES = 8 << 30  # unpacked; data sets of this kind are smaller


@dataclass(frozen=True)
class Split:
    """The images of one split by class, as sorted paths relative to ``folder``."""

    folder: Path
    pictures: dict[str, list[str]]

    def __len__(self) -> int:
        return sum(map(len, self.pictures.values()))


def is_archive(path: str | Path) -> bool:
    return str(path).lower().endswith(ARCHIVES)


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar archive into ``folder`` unless it already exists; return the folder.

    The folder is created completely or not at all. Members outside it, links and devices are
    refused.

    Raises:
        UserError: if the archive is missing, not a tar file, damaged or refused, or the disk is
        full.
    """
    archive, folder = Path(archive).expanduser(), Path(folder)
    if folder.is_dir():
        return folder
    if not archive.is_file():
        raise UserError(f'{archive}: no such file')
    if not hasattr(tarfile, 'data_filter'):
        raise UserError(
            f'this Python cannot unpack {archive} safely (it lacks tarfile.data_filter, a fix of '
            'the last 3.10 and 3.11 releases); unpack it yourself and give the folder'
        )
    try:
        # Another process that unpacks the same archive may have been faster.
        with fresh_folder(folder, existing='keep') as temporary, tarfile.open(archive) as tar:
            total = 0
            for member in tar:
                total += member.size
                if not (member.isfile() or member.isdir()) or total > MAX_BYTES:
                    raise UserError(
                        f'{archive} was refused: {member.name!r} is a link or a device'
                        if total <= MAX_BYTES
                        else f'{archive} was refused: more than {MAX_BYTES >> 30} GiB unpacked'
                    )
                tar.extract(member, temporary, filter='data')
    except tarfile.FilterError as error:
        raise UserError(f'{archive} was refused: {error}') from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f'{archive} is damaged or no tar archive: {error}') from error
    except OSError as error:
        raise UserError(f'{archive} could not be unpacked: {error.strerror or error}') from error
    return folder


def find_root(folder: str | Path) -> Path:
    """``folder``, or its only subfolder, if it contains ``train/`` and ``test/``.

    Raises:
        UserError: if neither does.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f'{folder}: no such folder')
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    for root in (folder, *inside):
        if all((root / split).is_dir() for split in SPLITS):
            return root
    raise UserError(
        f'{folder} has no train/ and test/; expected train/<class>/*.jpg and test/<class>/*.jpg'
    )


def read_split(root: str | Path, split: str, classes: tuple[str, ...]) -> Split:
    """The images of a split, which must have exactly the folders ``classes``.

    Raises:
        UserError: for missing, unknown or empty folders.
    """
    folder = Path(root, split)
    found = {p.name for p in folder.iterdir() if p.is_dir()}
    if found != set(classes):
        missing, unknown = sorted(set(classes) - found), sorted(found - set(classes))
        raise UserError(
            f'{folder} does not have the classes of the config: missing {missing or "none"}, '
            f'unknown {unknown or "none"}'
        )
    pictures = {
        name: sorted(f'{name}/{p.name}' for p in (folder / name).iterdir() if is_image_file(p))
        for name in classes
    }
    empty = [name for name, paths in pictures.items() if not paths]
    if empty:
        kinds = ', '.join(IMAGE_SUFFIXES)
        raise UserError(f'{folder}: no images ({kinds}) of {", ".join(empty)}')
    return Split(folder, pictures)


def balanced(split: Split, number: int | None) -> Split:
    """``number`` images, equally many of each class and evenly spaced; None for all.

    Raises:
        UserError: if the number is not a positive multiple of the number of classes, or too large.
    """
    if number is None:
        return split
    each, rest = divmod(number, len(split.pictures))
    fewest = min(map(len, split.pictures.values()))
    if rest or not 1 <= each <= fewest:
        raise UserError(
            f'{number} images of {split.folder}: expected a multiple of {len(split.pictures)}, '
            f'the number of classes, up to {fewest * len(split.pictures)}'
        )
    return Split(
        split.folder,
        {
            name: [paths[i * len(paths) // each] for i in range(each)]
            for name, paths in split.pictures.items()
        },
    )


def listed(picture: str) -> str:
    """``picture`` as written in a list, where a leading space would be stripped.

    Raises:
        UserError: for a name that cannot be written in a line.
    """
    try:
        picture.encode()
    except UnicodeEncodeError:
        wrong = 'this name is not UTF-8, as mmpretrain reads lists'
    else:
        wrong = 'there is a line break in this name' if '\n' in picture else ''
    if wrong:
        raise UserError(f'{picture!r}: {wrong}; rename the file or folder')
    return f'./{picture}' if picture[:1].isspace() else picture


def write_annotations(split: Split, path: str | Path) -> Path:
    """The list that mmpretrain's CustomDataset reads: ``<class>/<file> <label>`` per line."""
    lines = [
        f'{listed(picture)} {label}\n'
        for label, pictures in enumerate(split.pictures.values())
        for picture in pictures
    ]
    return write_text(path, ''.join(lines))
