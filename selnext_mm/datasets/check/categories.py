"""The categories of a COCO file against the classes of a config.

mmdet takes the ids of the categories whose names are among the classes, in the order of the file,
and numbers them 0, 1, ... So a missing or misspelt name shifts the labels of all that follow, and
another order silently gives the labels other names.
"""

from collections import Counter
from collections.abc import Sequence

from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.coco_content import is_id, mixed_ids
from selnext_mm.text import counted, near, preview

# Text and remedy for a mixture of string and numeric ids.
MIXED = (
    'some ids are texts and some are numbers, which cannot be put in one order',
    'Write all ids in one way',
)


def _near(name: str, names: Sequence[str]) -> str | None:
    folded = {n.casefold().strip().replace('_', ' '): n for n in names}
    likely = near(name.casefold().strip().replace('_', ' '), folded, 1)
    return folded[likely[0]] if likely else None


def read_categories(report: Report, categories: list) -> list[tuple]:
    """(id, name) of the usable categories in the order of the file; report the others."""
    pairs, bad = [], []
    for category in categories:
        record = category if isinstance(category, dict) else {}
        key, name = record.get('id'), record.get('name')
        if is_id(key) and isinstance(name, str):
            pairs.append((key, name))
        else:
            bad.append(category)
    if bad:
        report.add(
            'error',
            'categories',
            f'{counted(len(bad), "category is", "categories are")} without an id or a name',
            'Give each category an id and a name',
            bad,
        )
    if mixed_ids(key for key, _ in pairs):
        report.add('error', 'categories', *MIXED)
    for what, values in (('id', [p[0] for p in pairs]), ('name', [p[1] for p in pairs])):
        twice = [value for value, n in Counter(values).items() if n > 1]
        if twice:
            report.add(
                'error',
                'categories',
                f'the file has the category {what} {preview(twice, 8)} more than once',
                'Every id and every name may occur once; the labels shift otherwise',
                count=len(twice),
            )
    return pairs


def check_categories(report: Report, categories: list, classes: Sequence[str]) -> dict:
    """Category id -> class name for the categories that the config uses; report differences."""
    pairs = read_categories(report, categories)
    names = [name for _, name in pairs]
    classes = list(classes)
    twice = [name for name, n in Counter(classes).items() if n > 1]
    if twice:
        report.add(
            'error',
            'classes',
            f'metainfo.classes of the config names {preview(twice, 8)} more than once',
            'Name every class once',
        )
    missing = [name for name in classes if name not in names]
    unused = [name for name in names if name not in classes]
    if missing:
        likely = {name: _near(name, unused or names) for name in missing}
        hints = [f'{name!r} (did you mean {n!r}?)' for name, n in likely.items() if n]
        text = (
            f'{len(missing)} of the {len(classes)} classes of the config are not in the file: '
            + preview(hints + [repr(m) for m in missing if not likely[m]], 8)
        )
        remedy = (
            'Without them the labels of all later classes shift. Set metainfo.classes to the '
            f'names of the file: {preview(names, 20)}'
        )
        report.add('error', 'classes', text, remedy, count=len(missing))
    elif unused:
        report.add(
            'warn',
            'classes',
            f'{counted(len(unused), "category of the file is", "categories of the file are")} '
            f'not among the classes: {preview(unused, 8)}',
            'Their annotations are left out; add them to metainfo.classes if they are wanted',
            count=len(unused),
        )
    order = [name for name in names if name in classes]
    if not missing and not twice and order != [name for name in classes if name in names]:
        report.add(
            'error',
            'order',
            'the classes of the config stand in another order than the categories of the file: '
            f'{preview(classes, 8)} against {preview(order, 8)}',
            'mmdet numbers them as the file does, so the labels would get wrong names; write '
            'metainfo.classes in the order of the file',
        )
    return {key: name for key, name in pairs if name in classes}
