"""What ``check-data`` and ``browse`` say about a folder of labels, beside the rules of a config."""

import os
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from selnext_mm.datasets.duplicates import DuplicateGroup, Duplicates, find_duplicates
from selnext_mm.datasets.formats.coco import looks_like_coco
from selnext_mm.datasets.formats.records import CLASSIFICATION, DatasetInfo, preview
from selnext_mm.datasets.object_counts import count_lines, count_objects
from selnext_mm.errors import UserError
from selnext_mm.recipes.data import data_config

SHOWN = 5  # groups of duplicates that are listed


def is_labels(path: str | os.PathLike) -> bool:
    """Is ``path`` a data set: a folder, a COCO .json or a YOLO data.yaml? Configs are not."""
    path = Path(path).expanduser()
    if path.suffix == '.json':
        return path.is_file() and looks_like_coco(path)
    if path.suffix in ('.yaml', '.yml') and path.is_file():
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
        return any(line.startswith('names:') for line in lines)
    return path.is_dir()


def labels_config(info: DatasetInfo) -> Config:
    """A config of the data alone, without a model."""
    scope = 'mmpretrain' if info.task == CLASSIFICATION else 'mmdet'
    data = data_config(info, 640, 1, 0, info.task == 'masks')
    if 'test' not in info.splits:
        del data['test_dataloader'], data['test_evaluator']
    return Config(dict(model={}, default_scope=scope, **data))


def counts_table(info: DatasetInfo) -> list[str]:
    """Objects and images per class, split and size; nothing for a classification."""
    if info.task == CLASSIFICATION:
        return []
    return count_lines({name: count_objects(s.annotations) for name, s in info.splits.items()})


def duplicated_images(
    images: dict[str, list[str]], workers: int | None, on_image: Callable[[int], None]
) -> tuple[Duplicates | None, list[tuple[str, str]]]:
    """(what was found, (level, line) pairs to show) for split -> paths of its images."""
    try:
        found = find_duplicates(images, workers=workers, on_image=on_image)
    except UserError as error:
        return None, [('note', str(error))]
    within = [group for group in found.groups if len(group.splits) == 1]
    if not found.groups:
        return found, [('ok', f'no duplicates among {found.compared} images')]
    lines = []
    for level, groups, where in (
        ('warn', found.across, 'in two splits, which falsifies the metrics; keep one of each'),
        ('warn', within, 'within a split'),
    ):
        if groups:
            lines.append((level, f'{len(groups)} groups of duplicate images {where}'))
            lines += [('', f'  {_names(group)}') for group in groups[:SHOWN]]
            if len(groups) > SHOWN:
                lines.append(('', f'  and {len(groups) - SHOWN} more'))
    return found, lines


def _names(group: DuplicateGroup) -> str:
    names = [f'{split} {os.path.basename(path)}' for split, path in group.images]
    return f'{preview(names)} ({group.distance} of 256 bits differ)'
