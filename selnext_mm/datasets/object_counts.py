"""How many objects of which class and size: the table of a COCO file."""

import os
from collections import Counter
from dataclasses import dataclass, field

from selnext_mm.datasets.coco_file import read_coco

# COCO's sizes by the area in square pixels: of the mask, or of the box where there is none.
SMALL, MEDIUM = 32**2, 96**2
SIZES = ('small', 'medium', 'large')


def size_name(area: float) -> str:
    """``small`` below 32 x 32 pixels, ``medium`` below 96 x 96, else ``large``."""
    return 'small' if area < SMALL else 'medium' if area < MEDIUM else 'large'


@dataclass
class ClassCounts:
    """Counts of one class, crowds left out.

    Attributes:
        objects: how many objects.
        images: how many images have one.
        sizes: size name -> objects.
    """

    objects: int = 0
    images: int = 0
    sizes: Counter = field(default_factory=Counter)


def count_objects(content: dict | str | os.PathLike) -> dict[str, ClassCounts]:
    """Class name -> counts, in the order of the file's categories.

    Args:
        content: a COCO file's path or content.

    Raises:
        UserError: if the file cannot be read.
    """
    if not isinstance(content, dict):
        content = read_coco(content)
    names = {c['id']: c['name'] for c in content['categories']}
    counts = {name: ClassCounts() for name in names.values()}
    with_object: dict[str, set] = {name: set() for name in counts}
    for a in content['annotations']:
        if a.get('iscrowd') or a.get('category_id') not in names:
            continue
        name = names[a['category_id']]
        counts[name].objects += 1
        counts[name].sizes[size_name(a.get('area') or a['bbox'][2] * a['bbox'][3])] += 1
        with_object[name].add(a['image_id'])
    for name, images in with_object.items():
        counts[name].images = len(images)
    return counts


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
