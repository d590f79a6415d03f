"""What the readers of label formats return, and what :func:`find_dataset` returns."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from selnext_mm.datasets.formats.faults import Faults
from selnext_mm.text import visible

CLASSIFICATION, BOXES, MASKS = 'classification', 'boxes', 'masks'
SPLITS = ('train', 'val', 'test')
EXAMPLES = 3  # examples per kind of problem


class LabelledObject(NamedTuple):
    """One object of one image, in pixels of the image as it was labelled.

    Attributes:
        label: class name.
        bbox: (left, top, width, height).
        mask: COCO polygons or run lengths; None without a mask.
        crowd: neither learnt nor counted as missed (COCO's iscrowd, Pascal VOC's difficult).
        area: of the mask in pixels; None to compute it.
    """

    label: str
    bbox: Sequence[float]
    mask: list | dict | None = None
    crowd: bool = False
    area: float | None = None


@dataclass
class SplitLabels:
    """The labels of one split.

    Attributes:
        image_root: folder that the names are relative to.
        names: of the images, sorted, with ``/``.
        objects: name, width, height -> objects; the size is that of the labelled image.
        labelled_size: name -> (width, height) as the labels state it; None if they do not.
        extras: name -> further fields of the image record.
    """

    image_root: Path
    names: list[str]
    objects: Callable[[str, int, int], list[LabelledObject]]
    labelled_size: Callable[[str], tuple[int, int] | None] = lambda name: None
    extras: Callable[[str], dict] = lambda name: {}


class Labels:
    """A data set as described by its label files; one subclass per format.

    Attributes:
        format: its name.
        root: the folder that was searched.
        splits: names of the splits found; '' for a data set without named splits.
        choices: decisions that were made while searching, one line each.
        faults: mistakes found so far that let the reading of other files go on.
    """

    format = ''

    def __init__(self) -> None:
        self.faults = Faults()
        self.root = Path()
        self.splits: tuple[str, ...] = ()
        self.choices: list[str] = []

    def files(self) -> list[Path]:
        """The label files, whose content determines the cache key."""
        raise NotImplementedError

    def image_files(self) -> list[str]:
        """Paths of all images that the labels may name."""
        raise NotImplementedError

    def prepare(self, tally: 'Tally', advance: Callable[[int], None]) -> None:
        """Read what is needed before the first split; ``advance(n)`` counts label files."""

    def read(self, split: str, tally: 'Tally') -> SplitLabels:
        """The labels of one of ``splits``."""
        raise NotImplementedError

    def class_names(self) -> list[str] | None:
        """The classes in order; None for the objects' classes in alphabetical order."""
        return None

    def class_fields(self, name: str) -> dict:
        """Further fields of a class's category record."""
        return {}


@dataclass
class Tally:
    """How often something was left out or changed, with the first examples."""

    counts: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        shown = self.examples.setdefault(kind, [])
        if len(shown) < EXAMPLES:
            shown.append(where)

    def lines(self, texts: dict[str, str]) -> list[str]:
        """A line for each key of ``texts`` that occurred: its count, text and examples."""
        return [
            f'{texts[kind]}: {count} ({preview(self.examples[kind], count)})'
            for kind in texts
            if (count := self.counts[kind])
        ]


def preview(names: Sequence, total: int | None = None) -> str:
    """The first few names, and how many more there are."""
    shown = [visible(str(n)) for n in names[:EXAMPLES]]
    more = (len(names) if total is None else total) - len(shown)
    return ', '.join(shown) + (f' and {more} more' if more > 0 else '')


@dataclass(frozen=True)
class Split:
    """One split, ready to load.

    Attributes:
        image_root: folder that the file names are relative to.
        annotations: a COCO file; for classification a list of lines ``file label``.
        images, objects: how many.
        polygons: whether every mask that is learnt is known to be a list of polygons.
    """

    image_root: Path
    annotations: Path
    images: int
    objects: int
    polygons: bool = False


@dataclass(frozen=True)
class DatasetInfo:
    """What :func:`find_dataset` found.

    Attributes:
        root: the folder that was searched.
        format: ``coco``, ``lvis``, ``yolo``, ``voc`` or ``folders``.
        task: ``classification``, ``boxes`` or ``masks``.
        classes: their names; category k + 1 of the COCO files is class k.
        splits: ``train`` and ``val``, and ``test`` if there is one.
        choices: decisions that were made for the user, one line each.
        cache: the folder of the converted files.
        no_masks: why only the boxes are used of labels that have masks; '' if that is not so.
    """

    root: Path
    format: str
    task: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    choices: tuple[str, ...]
    cache: Path
    no_masks: str = ''

    def dataset_config(self, split: str, **fields) -> dict:
        """The dataset dict of a config: mmdet's ``CocoDataset`` or mmpretrain's ``CustomDataset``.

        ``fields`` (``pipeline``, ``filter_cfg``, ...) are added to it.
        """
        found = self.splits[split]
        images = os.path.abspath(found.image_root)  # the config is read from other folders, too
        common = dict(ann_file=str(found.annotations), metainfo=dict(classes=self.classes))
        if self.task == CLASSIFICATION:
            return dict(type='CustomDataset', data_prefix=images, **common, **fields)
        return dict(
            type='CocoDataset',
            data_prefix=dict(img=images),
            test_mode=split != 'train',
            **common,
            **fields,
        )
