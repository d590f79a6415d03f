"""The image records of a COCO file: ids, names, sizes."""

import os
from collections import Counter

from selnext_mm.datasets.check.categories import MIXED
from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.check.masks import finite
from selnext_mm.datasets.coco_content import is_id, mixed_ids
from selnext_mm.text import counted

LARGEST = 2**31 - 1  # pixels per side; the limit of image formats


def is_size(values: list) -> bool:
    """Whether ``values`` are a width and a height; pycocotools accepts only integers."""
    return set(map(type, values)) == {int} and all(0 < value <= LARGEST for value in values)


def has_id(record) -> bool:
    return isinstance(record, dict) and is_id(record.get('id'))


def check_image_records(report: Report, records: list) -> dict:
    """Image id -> (width, height, file name) of the usable records."""
    images, bad, twice = {}, [], []
    for record in records:
        size = [record.get('width'), record.get('height')] if has_id(record) else []
        name = record.get('file_name') if size else None
        if not isinstance(name, str) or not name or not is_size(size):
            bad.append(record)
            continue
        if record['id'] in images:
            twice.append(record['id'])
        images[record['id']] = (*size, name)
    report.images = len(records)
    if bad:
        report.add(
            'error',
            'images',
            f'{len(bad)} of {len(records)} image records lack an id, a file_name, or a width and '
            'height above 0 in whole pixels',
            'mmdet stops at them; complete the records',
            bad,
        )
    if mixed_ids(images):
        report.add('error', 'images', *MIXED)
    if twice:
        report.add(
            'error',
            'images',
            f'{len(twice)} image ids occur more than once',
            'All but one of the images would be lost and their boxes drawn on the other; give '
            'every image its own id',
            twice,
        )
    names = Counter(name for *_, name in images.values())
    repeated = [name for name, n in names.items() if n > 1]
    if repeated:
        report.add(
            'warn',
            'images',
            f'{counted(len(repeated), "file is", "files are")} listed as several images',
            'Their annotations contradict each other; list each file once',
            repeated,
        )
    return images


def image_paths(content: dict, folder: str) -> dict[str, tuple[int, int] | None]:
    """Path of each image in ``folder`` -> (width, height) as annotated, None if unknown."""
    paths = {}
    for record in content['images']:
        name = record.get('file_name') if isinstance(record, dict) else None
        if isinstance(name, str) and name:
            size = (record.get('width'), record.get('height'))
            paths[os.path.join(folder, name)] = size if finite(size) else None
    return paths
