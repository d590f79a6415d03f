"""Duplicate images, within a split or, worse, in two of them.

Each image gets a perceptual hash of 256 bits (pHash: the signs of its low frequencies, by the
imagehash library). Copies that were scaled, re-encoded or brightened differ in up to 20 bits, the
same scene taken a moment later in up to about 32, different images in 80 or more.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from selnext_mm.errors import UserError

SIDE = 16  # of the hash: 16 x 16 bits
DISTANCE = 32  # bits in which similar images may differ
PLAIN = 4.0  # grey levels; images with a smaller deviation have no frequencies to compare
BLOCK = 2048  # two blocks of this many images are compared at a time: 16 MB
BATCH = 32  # images per task of a thread


@dataclass(frozen=True)
class DuplicateGroup:
    """A group of similar images.

    Attributes:
        images: (split, path) of each.
        distance: largest number of bits by which an image differs from its most similar one.
    """

    images: tuple[tuple[str, str], ...]
    distance: int

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the images; more than one falsifies the evaluation."""
        return tuple(dict.fromkeys(split for split, _ in self.images))


@dataclass(frozen=True)
class Duplicates:
    """What :func:`find_duplicates` found.

    Attributes:
        groups: those over several splits first, then by similarity.
        compared: number of images that were compared.
        plain: paths of images of one colour, which were not compared.
        unreadable: paths of images that cannot be read.
    """

    groups: tuple[DuplicateGroup, ...]
    compared: int
    plain: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def across(self) -> tuple[DuplicateGroup, ...]:
        """The groups over several splits."""
        return tuple(g for g in self.groups if len(g.splits) > 1)


def perceptual_hash(path: str | os.PathLike) -> np.ndarray | None:
    """(256,) bool; None for an image of one colour.

    Raises:
        OSError: if the file cannot be read as an image.
    """
    from PIL import Image, ImageStat

    try:
        import imagehash
    except ImportError as error:
        raise UserError(
            f'finding duplicated images needs {error.name}, which is not installed here: '
            'pip install "selnext_mm[formats]" (or: pip install imagehash)'
        ) from error
    try:
        with Image.open(path) as file:
            file.draft('L', (4 * SIDE, 4 * SIDE))  # decodes a JPEG at a reduced size
            picture = file.convert('L')
    except Exception as error:  # Pillow's plug-ins raise many types
        raise OSError(f'{path} cannot be read as an image: {error}') from error
    if ImageStat.Stat(picture).stddev[0] < PLAIN:
        return None
    return imagehash.phash(picture, SIDE).hash.ravel()


def _hash_or_error(path: str):
    try:
        return perceptual_hash(path)
    except OSError as error:
        return error


def near_pairs(hashes: np.ndarray, distance: int) -> Iterable[tuple[int, int, int]]:
    """(i, j, bits) for all pairs i < j of (N, bits) bool that differ in ``distance`` bits or fewer.

    All pairs are compared, block by block, as a product of matrices of -1 and 1.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    bits = hashes.shape[1]
    for i in range(0, len(signs), BLOCK):
        for j in range(i, len(signs), BLOCK):
            product = signs[i : i + BLOCK] @ signs[j : j + BLOCK].T
            rows, columns = np.nonzero(product >= bits - 2 * distance)
            for a, b in zip(rows.tolist(), columns.tolist(), strict=True):
                if i + a < j + b:
                    yield i + a, j + b, int(bits - product[a, b]) // 2


def find_duplicates(
    paths: Mapping[str, Sequence[str]],
    distance: int = DISTANCE,
    workers: int | None = None,
    on_image: Callable[[int], object] = lambda n: None,
) -> Duplicates:
    """Compare the images of all splits with each other.

    Args:
        paths: split -> paths of its images.
        distance: bits of 256 in which two similar images may differ; 0 for equal hashes.
        workers: threads that read images; default one per processor.
        on_image: called with the number of images just read, for a progress bar.

    Raises:
        UserError: if the imagehash library is missing.
    """
    if not 0 <= distance < SIDE * SIDE // 2:
        raise UserError(f'distance {distance}; expected 0 to {SIDE * SIDE // 2 - 1} bits')
    owners = [(split, path) for split, names in paths.items() for path in names]
    hashes, kept, plain, unreadable = [], [], [], []
    for owner, found in zip(owners, _read(owners, workers, on_image), strict=True):
        if isinstance(found, OSError):
            unreadable.append(owner[1])
        elif found is None:
            plain.append(owner[1])
        else:
            hashes.append(found)
            kept.append(owner)
    pairs = list(near_pairs(np.array(hashes), distance)) if hashes else []
    return Duplicates(_groups(kept, pairs), len(kept), tuple(plain), tuple(unreadable))


def _read(owners, workers, on_image):
    paths = iter([path for _, path in owners])
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        while tasks := [b for _ in range(2 * workers) if (b := list(islice(paths, BATCH)))]:
            for found in pool.map(lambda batch: [*map(_hash_or_error, batch)], tasks):
                yield from found
                on_image(len(found))


def _groups(owners, pairs) -> tuple[DuplicateGroup, ...]:
    """The connected components of the graph that ``pairs`` form."""
    leader = list(range(len(owners)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    nearest: dict[int, int] = {}
    for i, j, bits in pairs:
        leader[max(find(i), find(j))] = min(find(i), find(j))
        for k in (i, j):
            nearest[k] = min(nearest.get(k, bits), bits)
    members: dict[int, list[int]] = {}
    for i in sorted(nearest):
        members.setdefault(find(i), []).append(i)
    groups = [
        DuplicateGroup(tuple(owners[i] for i in m), max(nearest[i] for i in m))
        for m in members.values()
    ]
    return tuple(sorted(groups, key=lambda g: (len(g.splits) == 1, g.distance, g.images)))
