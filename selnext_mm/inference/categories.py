"""Category and image ids: those of a COCO file, the official COCO ones, or counted from 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from selnext_mm.datasets.coco_content import check_records, load_coco
from selnext_mm.errors import UserError

if TYPE_CHECKING:  # selnext_mm.runtime uses this file without mmengine
    from mmengine.config import Config

# COCO numbers its 80 classes 1..90 with gaps.
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(i for i in range(1, 91) if i not in COCO_GAPS)

BY_ORDER = 'the order of the classes'
MOST_FOLDERS = 8  # in a file name of a COCO file


@dataclass
class Ids:
    """``categories``: class name -> id; ``images``: file name -> id; ``source``: their origin."""

    categories: dict[str, int]
    source: str
    images: dict[str, int] = field(default_factory=dict)

    def number_images(
        self, names: Sequence[str], paths: Sequence[str] | None = None
    ) -> tuple[list, int]:
        """An id for every image, and how many are new.

        An image is looked up by its name, then by the end of its path (``cam0/1.jpg`` of
        ``/data/cam0/1.jpg``), then by its file name if that is unique. An image that
        the COCO file does not list gets a new id, and so do images that would share one. A new id
        is a number above all of the file's, or a string if the file's ids are strings.

        Args:
            names: of the images, relative to the folder that was given.
            paths: where the images are; by default the names.
        """
        exact = [self.images.get(name) for name in names]
        taken = {i for i in exact if i is not None}
        lasts = Counter(PurePath(name).name for name in self.images)
        given = Counter(PurePath(name).name for name in names)
        by_last = {PurePath(n).name: i for n, i in self.images.items()}
        near: list = []
        for name, path, found in zip(names, paths or names, exact, strict=True):
            last = PurePath(name).name
            if found is None:
                found = self._by_ending(path)
            if found is None and lasts[last] == given[last] == 1:
                found = by_last[last]
            near.append(found)
        shared = Counter(i for i, own in zip(near, exact, strict=True) if own is None)
        following, text = self._following()
        ids, new = [], 0
        for own, number in zip(exact, near, strict=True):
            if own is None and (number is None or number in taken or shared[number] > 1):
                number = f'new {following + new}' if text else following + new
                new += 1
            ids.append(number)
        return ids, new

    def _by_ending(self, path: str):
        """The id of the longest end of ``path`` that the file lists, folders included."""
        parts = PurePath(path).parts
        for start in range(max(0, len(parts) - MOST_FOLDERS), len(parts)):
            found = self.images.get('/'.join(parts[start:]))
            if found is not None:
                return found
        return None

    def _following(self) -> tuple[int, bool]:
        """(the first number above all image ids, whether the ids are strings)."""
        if any(isinstance(i, str) for i in self.images.values()):
            return 1, True
        return int(max((0, *self.images.values()))) + 1, False


def _read(path: str | Path) -> dict:
    content = load_coco(path, keys=('categories',))
    if not content['categories']:
        raise UserError(f'{path} is not a COCO file: it lists no categories')
    if not isinstance(content.get('images', []), list):
        raise UserError(f'{path} is not a COCO file: its "images" is not a list')
    check_records(content, path)
    return content


def _by_name(content: dict) -> dict[str, int]:
    return {c['name']: c['id'] for c in content['categories']}


def find_ids(cfg: Config, classes: tuple[str, ...], ann: str | Path | None = None) -> Ids:
    """Ids for ``classes``.

    From ``ann``; else from the annotation file of the config's test set if it exists and has all
    the names; else COCO's own for COCO's 80 names; else 1, 2, ... in the order of the classes.

    Raises:
        UserError: if ``ann`` cannot be read or lacks a class.
    """
    if ann:
        content = _read(ann)
        known = _by_name(content)
        missing = [name for name in classes if name not in known]
        if missing:
            raise UserError(
                f'--ann {ann} lacks {len(missing)} of the {len(classes)} classes '
                f'({", ".join(missing[:4])}); it has {", ".join(list(known)[:8])}'
            )
        images = {i['file_name']: i['id'] for i in content.get('images') or []}
        return Ids({name: known[name] for name in classes}, str(ann), images)
    from selnext_mm.config.walk import iter_evaluators

    for name, evaluator in iter_evaluators(cfg):
        path = evaluator.get('ann_file')
        if name == 'test_evaluator' and path and Path(path).is_file():
            try:
                known = _by_name(_read(path))
            except UserError:
                continue
            if set(classes) <= set(known):
                return Ids({name: known[name] for name in classes}, str(path))
    if classes == _coco_names():
        return Ids(dict(zip(classes, COCO_IDS, strict=True)), 'COCO')
    return Ids({name: i for i, name in enumerate(classes, 1)}, BY_ORDER)


def _coco_names() -> tuple[str, ...] | None:
    try:
        from mmdet.datasets import CocoDataset
    except ImportError:
        return None
    return tuple(CocoDataset.METAINFO['classes'])
