"""All labels, image by image, on disk, so that memory does not grow with the data set."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from selnext_mm.datasets.formats.geometry import fit, turn
from selnext_mm.datasets.formats.records import (
    LabelledObject,
    Labels,
    SplitLabels,
    Tally,
    preview,
)
from selnext_mm.datasets.formats.sizes import ImageSize, image_sizes
from selnext_mm.errors import UserError

CORNERS = (8, 10)  # numbers of a polygon of four corners, open and closed


class Picture(NamedTuple):
    """One image with the objects that mmdet can use.

    ``turn`` is an EXIF orientation that, judging by the sizes, the labels may or may not include;
    1 for none.
    """

    name: str
    width: int
    height: int
    objects: list[LabelledObject]
    turn: int = 1
    extras: dict | None = None


class Spool:
    """The images of all splits, and counts over them.

    Attributes:
        used: split -> class -> objects to learn from, without crowds.
        present: split -> image -> its classes, if a validation split is to be made.
        masks, bare: objects with and without a mask.
        without_mask: the images with an object without a mask: their number and the first ones.
        real_masks: objects whose mask is not just their box.
        roots: split -> folder of the images.
        crowds: objects marked as crowd.
        stored, shown: counts of non-square images rotated by EXIF and labelled as stored, or as
        shown.
    """

    def __init__(self, folder: Path, tally: Tally) -> None:
        self.folder, self.tally = folder, tally
        self.used: dict[str, Counter] = {}
        self.present: dict[str, dict[str, tuple[str, ...]]] = {}
        self.images: dict[str, int] = {}
        self.roots: dict[str, Path] = {}
        self.masks = self.bare = self.real_masks = 0
        self.stored = self.shown = self.crowds = 0
        self.without_mask = Tally()
        self._learnt: set[int] = set()  # hashes of the paths of the training images

    def add(
        self,
        split: str,
        labels: Labels,
        source: str,
        advance: Callable[[str, int, int], None],
        remember: bool,
    ) -> None:
        """Read one split. ``advance(split, n, total)`` counts images; ``remember`` their classes.

        Images that cannot be read, or whose size differs from the labelled one, and label files
        with mistakes are added to ``labels.faults``.
        """
        found = labels.read(source, self.tally)
        self.roots[split], self.images[split] = found.image_root, len(found.names)
        used = self.used[split] = Counter()
        present = self.present[split] = {}
        unreadable, other_size = [], []
        paths = (f'{found.image_root}/{name}' for name in found.names)
        sizes = image_sizes(paths, lambda n: advance(split, n, len(found.names)))
        with open(self.folder / f'{split}.jsonl', 'w', encoding='utf-8') as file:
            for name, size in zip(found.names, sizes, strict=True):
                if isinstance(size, str):
                    unreadable.append(f'{name} {size}')
                    continue
                try:
                    picture = self._picture(name, size, found)
                except UserError as error:  # in its label file
                    labels.faults.add(str(error))
                    continue
                if picture is None:
                    w, h = found.labelled_size(name)
                    other_size.append(f'{name} is {size[0]} x {size[1]}, labelled {w} x {h}')
                    continue
                file.write(f'{json.dumps(picture)}\n')
                path = hash(f'{found.image_root}/{name}')
                if split == 'train':
                    self._learnt.add(path)
                elif path in self._learnt:
                    self.tally.add('learnt', f'{name} of {split}')
                for item in picture.objects:
                    self._count(item, used)
                if any(not (o.mask or o.crowd) for o in picture.objects):
                    self.without_mask.add('images', name)
                if remember:
                    present[name] = tuple({o.label for o in picture.objects if not o.crowd})
        remedies = {
            'cannot be read': (unreadable, 'fetch them again or remove their labels'),
            'have another size': (
                other_size,
                'boxes would be misplaced; use the images that were labelled',
            ),
        }
        for what, (names, remedy) in remedies.items():
            if names:
                labels.faults.add(
                    f'{len(names)} of {len(found.names)} images in {found.image_root} {what} '
                    f'({preview(names)}): {remedy}'
                )

    def _picture(self, name: str, size: ImageSize, found: SplitLabels) -> Picture | None:
        """The image with its objects; None if the labels were made for an image of another size."""
        width, height, orientation = size
        labelled = found.labelled_size(name)
        swapped = orientation >= 5 and labelled == (height, width) != (width, height)
        if labelled is not None and labelled != (width, height) and not swapped:
            return None
        seen = (height, width) if swapped else (width, height)
        objects = fit(found.objects(name, *seen), *seen, self.tally, name)
        undecided = 1
        if swapped:
            self.stored += 1
            self.tally.add('turned', name)
            objects = [turn(o, orientation, *seen) for o in objects]
        elif labelled is not None and orientation >= 2:
            if orientation >= 5 and width != height:
                self.shown += 1
            else:
                undecided = orientation
        return Picture(name, width, height, objects, undecided, found.extras(name) or None)

    def _count(self, item: LabelledObject, used: Counter) -> None:
        if item.crowd:
            self.crowds += 1
            return
        used[item.label] += 1
        if not item.mask:
            self.bare += 1
            return
        self.masks += 1
        self.real_masks += not _is_box(item)

    def read(self, split: str, wanted: Callable[[str], bool]) -> Iterator[Picture]:
        """The images of a split whose names are wanted, in order of their names.

        If EXIF mirrors an image, rotates it by 180 degrees or rotates a square one, its size does
        not show how it was labelled: it is treated like the non-square ones of the data set.
        """
        as_stored = self.stored > self.shown
        with open(self.folder / f'{split}.jsonl', encoding='utf-8') as file:
            for line in file:
                picture = Picture(*json.loads(line))
                if not wanted(picture.name):
                    continue
                objects = [LabelledObject(*o) for o in picture.objects]
                if picture.turn > 1 and as_stored:
                    size = picture.width, picture.height
                    objects = [turn(o, picture.turn, *size) for o in objects]
                if picture.turn > 1:
                    self.tally.add('turned' if as_stored else 'mirrored', picture.name)
                yield picture._replace(objects=objects)


def _is_box(item: LabelledObject) -> bool:
    """Whether the mask is just the four corners of the box, as some tools write for boxes."""
    if not isinstance(item.mask, list) or len(item.mask) != 1 or len(item.mask[0]) not in CORNERS:
        return False
    x, y, w, h = item.bbox
    points = {(a, b) for a, b in zip(item.mask[0][::2], item.mask[0][1::2], strict=True)}
    return points == {(x, y), (x + w, y), (x + w, y + h), (x, y + h)}
