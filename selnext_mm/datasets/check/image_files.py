"""Check that the images of a data set exist, are readable and complete, and have the right size."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.check.lost_names import (
    difference,
    elsewhere,
    foreign_name,
    spelt_else,
)
from selnext_mm.datasets.image_suffixes import is_special
from selnext_mm.datasets.pixels import (
    DARK,
    SIDES_SWAPPED,
    UPRIGHT,
    Peculiarities,
    peculiarities,
)

MANY = 0.01  # share of missing training images above which a run is not started
GLANCED = 6  # number of images of a data set that are read before a run
TAIL = 64  # bytes; cameras pad the end of a file
END_MARKS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND'}  # first bytes -> the last mark


def missing_files(paths: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Paths that do not exist, and for some of them a file with a differently spelt name.

    Every folder is listed once, which takes a second for the 118,287 images of COCO.
    """
    folders = defaultdict(list)
    for path in paths:
        folder, name = os.path.split(path)
        folders[folder].append(name)
    missing, near = [], {}
    for folder, names in folders.items():
        try:
            present = set(os.listdir(folder or '.'))
        except (OSError, ValueError):  # no such folder; a name with a zero byte
            present = set()
        lost = [name for name in names if name not in present]
        if lost and present:
            found = spelt_else(lost, present)
            near |= {os.path.join(folder, name): other for name, other in found.items()}
        missing += [os.path.join(folder, name) for name in lost]
    return missing, near


def check_present(report: Report, training: bool, folder: str = '') -> None:
    """Add a finding on images of ``report.paths`` that do not exist.

    Args:
        report: its ``paths`` name the files.
        training: a training run tolerates a few missing files.
        folder: folder to which the image names are relative.
    """
    missing, near = missing_files(report.paths)
    if not missing:
        return
    total = len(report.paths)
    text = f'{len(missing)} of {total} images are missing'
    remedy = f'Looked in {os.path.dirname(missing[0])}; --data-root DIR moves the data set'
    if cause := foreign_name(missing[0]):
        remedy = cause
    elif there := elsewhere(missing[0], folder):
        remedy = f'There is {there}: name the files relative to the folder of data_prefix'
        remedy += f', {folder}' if folder else ''
    if near:
        path, name = next(iter(near.items()))
        wanted = os.path.basename(path)
        remedy = f'The folder has {name} for {wanted}: {difference(wanted, name)}'
    # An evaluation needs every image.
    level = 'error' if not training or len(missing) > MANY * total else 'warn'
    report.add(level, 'missing', text, remedy, missing)


def inspect(path: str | os.PathLike) -> tuple[int, int] | str:
    """(width, height) as training reads the file, or what is wrong with it in words.

    OpenCV decodes, as in the pipelines, so the sides of an image with an EXIF rotation are swapped.
    Some versions of it pad truncated files, so a file without the end mark is read by Pillow, too.
    """
    import cv2
    import numpy as np

    if is_special(path):
        return 'is a pipe or a device'
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        return f'cannot be read: {getattr(error, "strerror", None) or error}'
    if not data:
        return 'is empty'
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        return f'cannot be decoded: {getattr(error, "err", None) or error}'
    end = next((end for start, end in END_MARKS.items() if data.startswith(start)), None)
    if image is None:
        return 'is truncated or damaged' if end else 'is not an image that OpenCV can read'
    if end and end not in data[-TAIL:] and not _whole(path):
        return 'is truncated or damaged'
    return image.shape[1], image.shape[0]


def _whole(path: str | os.PathLike) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception:  # Pillow's plug-ins raise OSError, SyntaxError, ValueError, struct.error ...
        return False
    return True


class _Odd:
    """Images of the right size that look different in training than in most programs."""

    def __init__(self) -> None:
        self.turned, self.kept, self.dark = [], [], []

    def take(self, path: str, size, peculiar: Peculiarities) -> None:
        orientation, largest, followed = peculiar
        # If the sides differ, the size shows for which orientation the annotations were made.
        tells = orientation in SIDES_SWAPPED and isinstance(size, tuple) and size[0] != size[1]
        if orientation != UPRIGHT and not tells:
            (self.turned if followed else self.kept).append(path)
        if largest is not None and largest < DARK:
            self.dark.append(f'{path}: largest value {largest} of 255')

    def finish(self, report: Report, total: int) -> None:
        if self.turned:
            report.add(
                'warn',
                'turned',
                f'{len(self.turned)} of {total} images are marked as turned or mirrored (EXIF), '
                'with sizes that do not tell for which pixels they were annotated',
                'Training turns them. Look at the boxes with "selnext-mm panel"; annotations of '
                'the pixels as stored need files that are written upright',
                self.turned,
            )
        if self.kept:
            report.add(
                'warn',
                'turned',
                f'{len(self.kept)} of {total} images are marked as turned or mirrored (EXIF) in a '
                'format in which OpenCV leaves them as stored, with sizes that do not tell for '
                'which pixels they were annotated',
                'Most programs show them turned, training sees them as stored. Look at the boxes '
                'with "selnext-mm panel"; annotations of the images as shown need files that are '
                'written upright',
                self.kept,
            )
        if self.dark:
            report.add(
                'warn',
                'dark',
                f'{len(self.dark)} of {total} images have 16 bits, of which training keeps the '
                'upper 8, and are then all but black',
                'Scale them to the whole range, for instance a 12-bit sensor by 16, or write 8 '
                'bits',
                self.dark,
            )


def glance(report: Report) -> None:
    """Add the warnings of :func:`check_images` for only a few images of ``report.paths``."""
    step = max(1, len(report.paths) // GLANCED)
    paths = [p for p in list(report.paths)[::step][:GLANCED] if os.path.isfile(p)]
    odd = _Odd()
    for path in paths:
        peculiar = peculiarities(path)
        size = report.paths[path]  # None for an image without boxes, which may be rotated
        odd.take(path, size, peculiar if size else peculiar._replace(orientation=UPRIGHT))
    odd.finish(report, len(paths))


def add_unreadable(report: Report, total: int, unreadable: list[str]) -> None:
    """Add a finding on ``unreadable`` images, each a path with the reason, if there are any."""
    if unreadable:
        report.add(
            'error',
            'unreadable',
            f'{len(unreadable)} of {total} images cannot be used',
            'Fetch them again or remove their records',
            unreadable,
        )


def check_images(
    report: Report, on_image: Callable[[], object] = lambda: None, workers: int | None = None
) -> None:
    """Read every image of ``report.paths`` and add findings; missing ones are reported elsewhere.

    Args:
        report: its ``paths`` name the files and their annotated sizes.
        on_image: called after each image, for a progress bar.
        workers: threads; default one per processor.
    """
    unreadable, other_size, turned, odd = [], [], 0, _Odd()
    paths = {p: size for p, size in report.paths.items() if os.path.isfile(p)}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        found_all = pool.map(lambda path: (inspect(path), peculiarities(path)), paths)
        for (path, wanted), (found, peculiar) in zip(paths.items(), found_all, strict=True):
            on_image()
            if found == wanted or not wanted:
                odd.take(path, found, peculiar)
            if isinstance(found, str):
                unreadable.append(f'{path} {found}')
            elif wanted and found != wanted:
                turned += found == wanted[::-1]
                w, h = wanted
                other_size.append(f'{path} is {found[0]} x {found[1]}, annotated {w:g} x {h:g}')
    odd.finish(report, len(paths))
    add_unreadable(report, len(paths), unreadable)
    if other_size:
        remedy = 'Boxes and masks would be misplaced; annotate the files that are there'
        if turned == len(other_size):
            remedy = (
                'All have their sides swapped: cameras mark images as turned (EXIF), which '
                'training follows (OpenCV, in .jpg and .png) and the annotations do not, or the '
                'other way round (.webp). Write the files upright'
            )
        report.add(
            'error',
            'size',
            f'{len(other_size)} of {len(paths)} images have another size than annotated',
            remedy,
            other_size,
        )
