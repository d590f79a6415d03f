"""Whether the data of a config, or labels of any format, are fit to train on."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mmengine.config import Config

from selnext_mm.config.load import load_config, set_data_root
from selnext_mm.datasets.check.config import check_config
from selnext_mm.datasets.check.findings import Report, table_lines
from selnext_mm.datasets.check.image_files import add_unreadable, check_images
from selnext_mm.datasets.duplicates import DuplicateGroup, Duplicates, find_duplicates
from selnext_mm.datasets.formats import find_dataset
from selnext_mm.datasets.formats.coco_files import looks_like_coco
from selnext_mm.datasets.formats.records import CLASSIFICATION, DatasetInfo, preview
from selnext_mm.datasets.object_counts import count_lines, count_objects
from selnext_mm.engine.preflight.model_keys import check_model_keys
from selnext_mm.engine.preflight.paths import check_paths
from selnext_mm.errors import UserError, typed
from selnext_mm.recipes.data import data_config
from selnext_mm.text import counted

SHOWN = 5  # groups of duplicates that are listed
SPLITS = ('train', 'val', 'test')
# (name of a step, images in it) -> called with the number of images done.
Progress = Callable[[str, int], Callable[[int], object]]


@dataclass
class DataCheck:
    """What :func:`check_data` found: one report per data set, with its findings and counts."""

    source: str
    reports: list[Report]
    info: DatasetInfo | None  # of labels; None for a config
    images_read: bool
    duplicates: Duplicates | None = None
    duplicate_lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Findings that would ruin a training."""
        return sum(len(report.errors) for report in self.reports)

    @property
    def warnings(self) -> int:
        """Findings that a person should check."""
        found = sum(f.level == 'warn' for report in self.reports for f in report.findings)
        return found + sum(level == 'warn' for level, _ in self.duplicate_lines)

    def as_dict(self) -> dict:
        """Plain data for JSON."""
        content = {
            'config': self.source,
            'ok': not self.errors,
            'images_read': self.images_read,
            'datasets': [report.as_dict() for report in self.reports],
        }
        if self.duplicates:
            groups = self.duplicates.groups
            content['duplicates'] = [[list(image) for image in group.images] for group in groups]
        return content

    def lines(self) -> Iterator[tuple[str, str]]:
        """(level, line) pairs to show; the last one is the conclusion."""
        yield from table_lines(self.reports)
        if self.info and (table := counts_table(self.info)):
            yield from (('', line) for line in ['', *table, ''])
        yield from self.duplicate_lines
        closing = f'{counted(self.errors, "error")}, {counted(self.warnings, "warning")}'
        if not self.images_read:
            closing += '; --images reads every image, too'
        yield 'FAIL' if self.errors else 'ok', closing


@typed('check_data')
def check_data(
    source: str | Path,
    splits: Sequence[str] = SPLITS,
    format: str | None = None,
    val: float | str | Path | None = None,
    seed: int = 0,
    data_root: str | None = None,
    options: dict | None = None,
    images: bool = False,
    duplicates: bool = True,
    workers: int | None = None,
    progress: Progress = lambda name, total: lambda count: None,
) -> DataCheck:
    """Check the data sets of a config, or labels of any format, as ``check-data`` does.

    >>> selnext_mm.check_data('labels').errors
    0

    Args:
        source: a config (file or name), or labels: a folder, a COCO .json or a YOLO data.yaml.
        splits: which splits; those that the labels do not have are left out.
        format: of labels; None detects it.
        val, seed: of labels: what to validate on, and the seed of its choice, as in training.
        data_root: of a config: moves all data sets there.
        options: of a config: values to override.
        images: also read every image.
        duplicates: of labels: look for duplicate images.
        workers: threads that read images; one per processor.
        progress: called per step with its name and number of images; the returned function is
        called with the number of images done since.

    Raises:
        UserError: for a source that cannot be read at all.
    """
    info, labels = None, is_labels(source)
    of_config = {'--data-root': data_root, '--cfg-options': options}
    of_labels = {'--format': format, '--no-duplicates': not duplicates, '--val': val}
    of_labels['--seed'] = seed
    refuse_foreign(source, labels, of_labels, of_config)
    if labels:
        info = find_dataset(source, format=format, val=val, seed=seed)
        cfg = labels_config(info)
        there = [split for split in splits if split in info.splits]
        if not there:
            raise UserError(
                f'--splits {" ".join(splits)}: {source} has {", ".join(info.splits)} alone'
            )
        splits = there
    else:
        cfg = load_config(source, options)
        if data_root:
            set_data_root(cfg, data_root)
        check_model_keys(cfg)
    loaders = tuple(f'{split}_dataloader' for split in splits)
    check_paths(cfg, loaders)
    reports = check_config(cfg, loaders)
    if not reports:
        raise UserError(
            f'{source} has no data set that this command knows: COCO files, image folders or '
            'lists of images and labels'
        )
    result = DataCheck(str(source), reports, info, images)
    if images:
        for report in reports:
            check_images(report, partial(progress(report.name, len(report.paths)), 1), workers)
    if info and duplicates:
        images_of = {r.name.removesuffix('_dataloader'): sorted(map(str, r.paths)) for r in reports}
        on_image = progress('duplicates', sum(map(len, images_of.values())))
        found = duplicated_images(images_of, workers, on_image)
        result.duplicates, result.duplicate_lines = found
        if found[0] and not images:
            for report in reports:
                unread = sorted(set(map(str, report.paths)).intersection(found[0].unreadable))
                lines = [f'{path} cannot be read' for path in unread]
                add_unreadable(report, len(report.paths), lines)
    return result


def refuse_foreign(source: str | Path, labels: bool, of_labels: dict, of_config: dict) -> None:
    """Raise :class:`UserError` for options that have no meaning for this kind of source."""
    given = [name for name, value in (of_config if labels else of_labels).items() if value]
    if given:
        kinds = ('labels', 'a config') if labels else ('a config', 'labels')
        raise UserError(
            f'{source} is {kinds[0]}, for which {" and ".join(given)} would change nothing: leave '
            f'it out, or give {kinds[1]}'
        )


def is_labels(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a data set: a folder, a COCO .json or a YOLO data.yaml, not a config."""
    path = Path(path).expanduser()
    if path.suffix == '.json':
        return path.is_file() and looks_like_coco(path)
    if path.suffix in ('.yaml', '.yml') and path.is_file():
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
        return any(line.startswith('names:') for line in lines)
    return path.is_dir()


def labels_config(info: DatasetInfo) -> Config:
    """A config with only the data, without a model."""
    scope = 'mmpretrain' if info.task == CLASSIFICATION else 'mmdet'
    data = data_config(info, 640, 1, 0, info.task == 'masks')
    if 'test' not in info.splits:
        del data['test_dataloader'], data['test_evaluator']
    return Config(dict(model={}, default_scope=scope, **data))


def counts_table(info: DatasetInfo) -> list[str]:
    """Objects and images per class, split and size; empty for classification."""
    if info.task == CLASSIFICATION:
        return []
    return count_lines({name: count_objects(s.annotations) for name, s in info.splits.items()})


def duplicated_images(
    images: dict[str, list[str]], workers: int | None, on_image: Callable[[int], object]
) -> tuple[Duplicates | None, list[tuple[str, str]]]:
    """(what was found, (level, line) pairs to show) for split -> paths of its images."""
    try:
        found = find_duplicates(images, workers=workers, on_image=on_image)
    except UserError as error:
        return None, [('note', str(error))]
    within = [group for group in found.groups if len(group.splits) == 1]
    if not found.groups:
        return found, [('ok', f'no duplicates among {counted(found.compared, "image")}')]
    lines = []
    for level, groups, where in (
        ('warn', found.across, 'in two splits, which falsifies the metrics; keep one of each'),
        ('warn', within, 'within a split'),
    ):
        if groups:
            text = counted(len(groups), 'group')
            lines.append((level, f'{text} of duplicate images {where}'))
            lines += [('', f'  {_names(group)}') for group in groups[:SHOWN]]
            if len(groups) > SHOWN:
                lines.append(('', f'  and {len(groups) - SHOWN} more'))
    return found, lines


def _names(group: DuplicateGroup) -> str:
    names = [f'{split} {os.path.basename(path)}' for split, path in group.images]
    return f'{preview(names)} ({group.distance} of 256 bits differ)'
