"""The numbers of objects by class and size in a COCO file, as a table."""

import os
from collections import Counter
from dataclasses import dataclass, field

from selnext_mm.datasets.check.masks import finite
from selnext_mm.datasets.coco_content import check_records, is_id, load_coco

# COCO's sizes by area in square pixels: of the mask, or of the box if there is no mask.
SMALL, MEDIUM = 32**2, 96**2
SIZES = ('small', 'medium', 'large')


def size_name(area: float) -> str:
    """``small`` below 32 x 32 pixels, ``medium`` below 96 x 96, else ``large``."""
    return 'small' if area < SMALL else 'medium' if area < MEDIUM else 'large'


@dataclass
class ClassCounts:
    """Counts of one class, without crowds.

    Attributes:
        objects: number of objects.
        images: number of images with at least one.
        sizes: size name -> objects.
    """

    objects: int = 0
    images: int = 0
    sizes: Counter = field(default_factory=Counter)


def count_objects(content: dict | str | os.PathLike) -> dict[str, ClassCounts]:
    """Class name -> counts, in the order of the file's categories.

    Annotations without a box, or of an image or class that is not listed, do not count.

    Args:
        content: path of a COCO file, or its content as :func:`load_coco` returns it.

    Raises:
        UserError: if the file cannot be read, or its images or categories have no ids.
    """
    if not isinstance(content, dict):
        path, content = content, load_coco(content)
        check_records(content, path)
    names = {c['id']: c['name'] for c in content['categories']}
    counts = {name: ClassCounts() for name in names.values()}
    with_object: dict[str, set] = {name: set() for name in counts}
    images = {image['id'] for image in content['images']}
    for a in filter(_counts, content['annotations']):
        if a['image_id'] not in images or a['category_id'] not in names:
            continue
        name = names[a['category_id']]
        counts[name].objects += 1
        counts[name].sizes[size_name(a.get('area') or a['bbox'][2] * a['bbox'][3])] += 1
        with_object[name].add(a['image_id'])
    for name, images in with_object.items():
        counts[name].images = len(images)
    return counts


def _counts(a) -> bool:
    """Whether ``a`` is the record of an object that is not a crowd."""
    if not isinstance(a, dict) or a.get('iscrowd'):
        return False
    box, area = a.get('bbox'), a.get('area')
    boxed = isinstance(box, list) and len(box) == 4 and finite(box)
    return (
        boxed
        and (not area or finite([area]))
        and is_id(a.get('image_id'))
        and is_id(a.get('category_id'))
    )


def count_lines(splits: dict[str, dict[str, ClassCounts]]) -> list[str]:
    """A table as lines: for each class and split the objects, images, and sizes.

    Args:
        splits: split -> what :func:`count_objects` returned.
    """
    names = list(dict.fromkeys(name for counts in splits.values() for name in counts))
    width = max([len('class'), *map(len, names)])
    columns = ('objects', 'images', *SIZES)
    head = f'{"class":{width}}  {"split":5}' + ''.join(f'{c:>9}' for c in columns)
    lines = [head]
    for name in names:
        for split, counts in splits.items():
            row = counts.get(name, ClassCounts())
            numbers = (row.objects, row.images, *(row.sizes[s] for s in SIZES))
            lines.append(f'{name:{width}}  {split:5}' + ''.join(f'{n:>9}' for n in numbers))
    return lines
