"""Label maps for semantic segmentation, drawn from the instance masks of COCO files.

One PNG per image with one byte per pixel: 0 is the background, k the k-th category of the file, and
255 is ignored (crowds). mmsegmentation's ``BaseSegDataset`` reads this with
``reduce_zero_label=False``.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from selnext_mm.datasets.coco_content import check_records, for_scoring, load_coco
from selnext_mm.disk import new_folder
from selnext_mm.errors import UserError

BACKGROUND, IGNORED = 'background', 255


@dataclass
class MapSummary:
    """The label maps that were written: where, how many, and the pixels of each class."""

    folder: Path
    images: int = 0
    classes: tuple[str, ...] = ()
    pixels: Counter = field(default_factory=Counter)  # label -> pixels

    def share(self, label: int) -> float:
        return self.pixels[label] / max(sum(self.pixels.values()), 1)


def instance_files(root: str | os.PathLike) -> dict[str, Path]:
    """split -> annotation file of a folder in COCO's layout: ``annotations/instances_*.json``.

    Raises:
        UserError: if there is none."""
    folder = Path(root).expanduser() / 'annotations'
    files = {p.stem.removeprefix('instances_'): p for p in sorted(folder.glob('instances_*.json'))}
    if not files:
        raise UserError(
            f'{folder} holds no instances_*.json; give a folder in the layout of COCO, such as '
            '"selnext-mm make-shapes" writes'
        )
    return files


def label_map(image: dict, annotations: list[dict], labels: dict) -> np.ndarray:
    """(H, W) uint8 of one image; where masks overlap, the smaller object is on top.

    Args:
        image: its COCO record.
        annotations: its objects.
        labels: category id -> value in the map.
    """
    height, width = image['height'], image['width']
    result = np.zeros((height, width), np.uint8)
    drawn = []
    for a in annotations:
        shape = a.get('segmentation')
        if not shape:
            continue
        if isinstance(shape, list) or isinstance(shape['counts'], list):
            shape = mask_utils.frPyObjects(shape, height, width)
        mask = mask_utils.decode(mask_utils.merge(shape) if isinstance(shape, list) else shape)
        label = IGNORED if a['iscrowd'] else labels[a['category_id']]
        drawn.append((int(mask.sum()), label, mask.astype(bool)))
    for _, label, mask in sorted(drawn, key=lambda item: -item[0]):
        result[mask] = label
    return result


def write_semantic_maps(annotations: str | os.PathLike, folder: str | os.PathLike) -> MapSummary:
    """Write a label map for every image of a COCO file into the new ``folder``.

    The map of ``a/b.jpg`` is ``a/b.png``. The folder is created completely or not at all.

    Raises:
        UserError: if ``folder`` is not empty, the file is not a COCO file, a map would be outside
        ``folder``, two images would share a map, or there are more than 254 categories.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        # It may contain images with the same names as the maps.
        raise UserError(f'{folder} is there already; remove it, or give another --out')
    content = load_coco(annotations)
    check_records(content, annotations)
    names = [c['name'] for c in content['categories']]
    if len(names) >= IGNORED:
        raise UserError(
            f'{annotations} has {len(names)} categories; a map of one byte per pixel has room for '
            f'{IGNORED - 1}'
        )
    files = [Path(image['file_name']).with_suffix('.png') for image in content['images']]
    if outside := [str(path) for path in files if path.is_absolute() or '..' in path.parts]:
        raise UserError(
            f'{annotations}: the map {outside[0]} would lie outside of {folder}; name the images '
            'below one folder'
        )
    if twice := [str(path) for path, n in Counter(files).items() if n > 1]:
        raise UserError(f'{annotations}: several images would have the same map {twice[0]}')
    labels = {c['id']: place for place, c in enumerate(content['categories'], 1)}
    of: dict = {image['id']: [] for image in content['images']}
    for a in for_scoring(content, annotations)['annotations']:
        of[a['image_id']].append(a)
    summary = MapSummary(folder, len(files), (BACKGROUND, *names))
    with new_folder(summary.folder) as fresh:
        for image, path in zip(content['images'], files, strict=True):
            drawn = label_map(image, of[image['id']], labels)
            summary.pixels.update(dict(enumerate(np.bincount(drawn.ravel()).tolist())))
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(cv2.imencode('.png', drawn)[1].tobytes())
    return summary
