"""Checks of a classifier's images: one folder per class, or a list of paths and labels.

mmpretrain numbers the folders in alphabetical order, separately for each data set: a class without
a folder in one of them shifts the labels of all that follow.
"""

import inspect
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.image_suffixes import IMAGE_SUFFIXES, UNREAD_SUFFIXES, refuse_unlisted
from selnext_mm.datasets.text_lists import read_lines
from selnext_mm.errors import UserError
from selnext_mm.text import counted, preview

LOOKED_AT = 200  # files of a class folder that the quick check reads
MISPLACED = 0.5  # share of images in another class's folder from which on it is a mistake


def extensions_of(kind: type, dataset: Mapping) -> Sequence[str]:
    """The image suffixes of a data set: its argument, else the default of its class.

    mmpretrain's ImageNet has them as an attribute, CustomDataset as the default of its argument.
    """
    given = dataset.get('extensions') or getattr(kind, 'IMG_EXTENSIONS', None)
    if given:
        return given
    for cls in filter(lambda cls: '__init__' in vars(cls), kind.__mro__):
        parameter = inspect.signature(vars(cls)['__init__']).parameters.get('extensions')
        if parameter is not None and parameter.default is not parameter.empty:
            return parameter.default
    return IMAGE_SUFFIXES


def images_below(
    folder: str | os.PathLike, extensions: tuple[str, ...] = IMAGE_SUFFIXES
) -> Iterator[str]:
    """Paths of the images in ``folder`` and its subfolders; the files are not opened."""
    for path in _files_below(folder):
        if path.lower().endswith(extensions):
            yield path


def _files_below(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Paths of all files that are not hidden, as mmengine lists them."""
    for where, _, names in os.walk(folder, onerror=refuse_unlisted):
        for name in names:
            if not name.startswith('.'):
                yield os.path.join(where, name)


def _count(folder: Path, extensions: tuple[str, ...], deep: bool) -> tuple[list[str], Counter[str]]:
    """(images, counts of other image files by suffix) of a class folder."""
    images, others = [], Counter()
    for path in islice(_files_below(folder), None if deep else LOOKED_AT):
        if path.lower().endswith(extensions):
            if deep or not images:
                images.append(path)
        else:
            suffix = os.path.splitext(path)[1].lower()
            others[suffix] += suffix in (*IMAGE_SUFFIXES, *UNREAD_SUFFIXES)
    if not deep and not images:
        images = list(islice(images_below(folder, extensions), 1))
    return images, others


def _check_order(report: Report, names: Sequence[str], classes: Sequence[str]) -> None:
    """The folders define the numbers: report config names that belong to another folder."""
    place = {name: i for i, name in enumerate(names)}
    wrong = [c for i, c in enumerate(classes) if place.get(c, i) != i]
    if wrong:
        report.add(
            'error',
            'order',
            'metainfo.classes stands in another order than the class folders, which give the '
            f'labels: {preview(classes, 8)} against {preview(names, 8)}',
            'Folders are numbered in alphabetical order, so the labels would get wrong names; '
            'write metainfo.classes in that order',
            count=len(wrong),
        )


def _kinds(others: Counter[str]) -> str:
    return ', '.join(f'{n} {suffix}' for suffix, n in others.most_common())


def _check_left_out(report: Report, others: Counter[str], hidden: Sequence[str]) -> None:
    unread = Counter({s: n for s, n in others.items() if n and s in UNREAD_SUFFIXES})
    others = +others - unread
    if unread:
        report.add(
            'warn',
            'suffixes',
            f'images of formats that are not read: {_kinds(unread)}',
            'Convert them to .jpg or .png',
            count=sum(unread.values()),
        )
    if others:
        kinds = _kinds(others)
        wanted = ', '.join(map(repr, others))
        report.add(
            'warn',
            'suffixes',
            f'images that the data set leaves out for their suffix: {kinds}'
            + ('' if report.counted else f' (among the first {LOOKED_AT} of a folder)'),
            f'Add the suffixes to dataset.extensions of the config ({wanted}), or convert them',
            count=sum(others.values()),
        )
    if hidden:
        report.add(
            'note',
            'hidden',
            f'hidden folders do not count as classes: {preview(hidden)}',
            count=len(hidden),
        )


def check_folder(
    folder: str | os.PathLike,
    classes: Sequence[str] | None,
    name: str = 'data set',
    deep: bool = True,
    extensions: Sequence[str] = IMAGE_SUFFIXES,
) -> Report:
    """Check ``folder/<class>/...``.

    Args:
        folder: contains one folder per class.
        classes: the class names of the config, None if it has none.
        name: for the report.
        deep: list all images; else one per class, which is enough to see that there are any.
        extensions: image suffixes.
    """
    folder, extensions = Path(folder).expanduser(), tuple(e.lower() for e in extensions)
    report = Report(name, str(folder), counted=deep)
    try:
        found = sorted(entry.name for entry in os.scandir(folder) if os.path.isdir(entry))
    except OSError as error:
        raise UserError(f'{name}: {folder} cannot be listed ({error.strerror})') from error
    names = [n for n in found if not n.startswith('.')]
    others: Counter[str] = Counter()
    for class_name in names:
        files, left_out = _count(folder / class_name, extensions, deep)
        others += left_out
        report.classes[class_name] = [len(files), len(files)]
        report.paths.update(dict.fromkeys(files))
    report.images = report.used = len(report.paths)
    empty = [n for n, (count, _) in report.classes.items() if not count]
    if not report.images:
        report.add(
            'error',
            'images',
            f'no images ({", ".join(extensions)}) in folders of {folder}',
            'A data set holds one folder per class with its images in it',
        )
    elif empty:
        report.add('warn', 'classes', f'classes without an image: {preview(empty, 8)}')
    _check_left_out(report, others, [n for n in found if n.startswith('.')])
    if classes is not None and len(classes) == len(names):
        _check_order(report, names, classes)
    if classes is not None and len(classes) != len(names):
        report.add(
            'error',
            'classes',
            f'{counted(len(names), "class folder")} for the '
            f'{counted(len(classes), "class")} of the config: '
            f'{preview(names, 8)}',
            'Name the classes in metainfo.classes of every data set, or give the whole folder',
        )
    return report


def _check_labels(report: Report, labels: dict[int, list[str]], classes: Sequence[str]) -> None:
    """The list defines the numbers: report classes whose images mostly lie in another's folder."""
    pairs = [
        (classes[label], folder, path)
        for label, paths in labels.items()
        for path in paths
        if (folder := Path(path).parent.name) in classes
    ]
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    if len(wrong) > MISPLACED * len(pairs):
        report.add(
            'error',
            'order',
            f'{len(wrong)} of {len(pairs)} images lie in the folder of another class than '
            'metainfo.classes makes of their label',
            'The labels are numbers of metainfo.classes, from 0; write the classes in the order '
            'of the list',
            [f'{path} is labelled {name}' for name, _, path in wrong],
            count=len(wrong),
        )


def check_list(
    ann_file: str | os.PathLike,
    prefix: str | os.PathLike,
    classes: Sequence[str] | None,
    name: str = 'data set',
) -> Report:
    """Check a text file of lines ``path label``, with paths relative to ``prefix``."""
    report = Report(name, str(ann_file))
    lines = read_lines(ann_file, name)
    bad, labels = [], {}
    for number, line in enumerate(lines, 1):
        path, _, label = line.strip().rpartition(' ')
        if not path or not label.isdecimal() or (classes and int(label) >= len(classes)):
            bad.append(f'line {number}: {line}')
            continue
        report.paths[os.path.join(prefix, path)] = None
        labels.setdefault(int(label), []).append(path)
    report.images, report.used = len(lines), len(report.paths)
    report.classes = {
        (classes[label] if classes else str(label)): [len(paths)] * 2
        for label, paths in sorted(labels.items())
    }
    if bad:
        highest = f' up to {len(classes) - 1}' if classes else ''
        report.add(
            'error',
            'labels',
            f'{len(bad)} of {len(lines)} lines are not "path label" with a label{highest}',
            'mmpretrain stops at them or computes a loss for a class that is not there',
            bad,
        )
    _check_labels(report, labels, classes or ())
    if not lines:
        report.add('error', 'images', f'{ann_file} is empty', 'List one image and label per line')
    return report


def compare_folders(train: Report, other: Report) -> None:
    """Report in ``other`` the class folders that it does not share with ``train``."""
    lacks = [n for n in train.classes if n not in other.classes]
    extra = [n for n in other.classes if n not in train.classes]
    if not lacks and not extra:
        return
    parts = [f'lacks {preview(lacks, 8)}'] if lacks else []
    parts += [f'has {preview(extra, 8)} besides'] if extra else []
    other.add(
        'error',
        'classes',
        f'the class folders differ from those of {train.name}: {other.source} '
        + ' and '.join(parts),
        'Folders are numbered in alphabetical order, so the labels shift; make the same folders in '
        'both (an empty one will do)',
        count=len(lacks) + len(extra),
    )
