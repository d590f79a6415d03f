"""Category and image ids: those of a COCO file, the official COCO ones, or counted from 1."""

from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from selnext_mm.config.walk import iter_evaluators
from selnext_mm.datasets.coco_file import read_coco
from selnext_mm.errors import UserError

# COCO numbers its 80 classes 1..90 with gaps.
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(i for i in range(1, 91) if i not in COCO_GAPS)

BY_ORDER = 'the order of the classes'


@dataclass
class Ids:
    """``categories``: class name -> id; ``images``: file name -> id; ``source`` in words."""

    categories: dict[str, int]
    source: str
    images: dict[str, int] = field(default_factory=dict)

    def number_images(self, names: list[str]) -> tuple[list[int], int]:
        """An id for every name, and how many are new.

        A name is looked up as it is, then by its last part; one that the COCO file does not list
        gets an id above all of the file's.
        """
        by_last: dict[str, int | None] = {}
        for name, number in self.images.items():
            last = Path(name).name
            by_last[last] = None if last in by_last else number
        following = max(self.images.values(), default=0) + 1
        ids, new = [], 0
        for name in names:
            number = self.images.get(name, by_last.get(Path(name).name))
            if number is None or number in ids:
                number, new = following + new, new + 1
            ids.append(number)
        return ids, new


def _read(path: str | Path) -> dict:
    content = read_coco(path, keys=('categories',))
    if not content['categories']:
        raise UserError(f'{path} is no COCO file: it lists no categories')
    return content


def _by_name(content: dict) -> dict[str, int]:
    return {c['name']: c['id'] for c in content['categories']}


def find_ids(cfg: Config, classes: tuple[str, ...], ann: str | Path | None = None) -> Ids:
    """Ids for ``classes``.

    From ``ann``; else from the annotation file of the config's test where it exists and has all
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
    for name, evaluator in iter_evaluators(cfg):
        path = evaluator.get('ann_file')
        if name == 'test_evaluator' and path and Path(path).is_file():
            try:
                known = _by_name(_read(path))
            except (UserError, KeyError, TypeError):
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
