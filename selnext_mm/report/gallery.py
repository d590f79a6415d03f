"""The images of a report: their choice, and what is drawn over them in the browser."""

import base64
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as mask_utils

from selnext_mm.datasets.pixels import read_rgb
from selnext_mm.evaluation.coco_scores import rle
from selnext_mm.evaluation.matching import ImageMatch
from selnext_mm.report.comparison import changes

SIDE = 520  # pixels of the longer side in the page
QUALITY = 78  # of the JPEG


def choose(
    matches: list[dict[int, ImageMatch]], num: int
) -> list[tuple[int, list[str], list[float]]]:
    """Images to show: (image id, groups, quality in each run), worst first.

    Args:
        matches: for every run, image id -> match.
        num: images per group, at most. The groups are worst and best; with several runs, those
            where the runs differ most; with two runs, those that got better and worse. An image
            may be in several groups. Images without objects and predictions are left out.
    """
    rows = []
    for image in set.intersection(*(set(m) for m in matches)):
        qualities = [m[image].quality for m in matches]
        if any(q is not None for q in qualities):
            # A run that correctly predicts nothing on an empty image is perfect there.
            values = [1.0 if q is None else q for q in qualities]
            rows.append((float(np.mean(values)), image, values))
    rows.sort()
    groups: dict[int, list[str]] = {}
    half = min(num, (len(rows) + 1) // 2)
    for _, image, _ in rows[:half]:
        groups.setdefault(image, []).append('worst')
    for _, image, _ in rows[max(half, len(rows) - num) :]:
        groups.setdefault(image, []).append('best')
    if len(matches) > 1:
        spread = sorted(rows, key=lambda r: (min(r[2]) - max(r[2]), r[1]))
        for _, image, _ in spread[:num]:
            groups.setdefault(image, []).append('differ')
    if len(matches) == 2:
        changed = changes(*matches)
        for _, image, _, _ in [row for row in changed if row[0] < 0][:num]:
            groups.setdefault(image, []).append('worse')
        for _, image, _, _ in [row for row in reversed(changed) if row[0] > 0][:num]:
            groups.setdefault(image, []).append('better')
    return [(image, groups[image], values) for _, image, values in rows if image in groups]


def outline(segmentation: list | dict, size: tuple[int, int], scale: float) -> str:
    """SVG path of a mask, in pixels of the page's image."""
    height, width = size
    if isinstance(segmentation, list):
        parts = [np.array(p, float).reshape(-1, 2) * scale for p in segmentation if len(p) >= 6]
    else:
        mask = mask_utils.decode(rle(segmentation, height, width))
        # One pixel of padding, so that a mask at the image's border is closed there.
        contours, _ = cv2.findContours(
            cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT),
            cv2.RETR_CCOMP,
            cv2.CHAIN_APPROX_SIMPLE,
        )
        tolerance = max(0.6, 0.8 / scale)
        contours = [cv2.approxPolyDP(c, tolerance, True) for c in contours]
        # OpenCV gives the indices of pixels: -1 for the padding, + 0.5 for their centres.
        parts = [(c.reshape(-1, 2) - 0.5) * scale for c in contours if len(c) >= 3]
    return ''.join('M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in part) + 'Z' for part in parts)


def _items(
    instances: list[dict], states: list[str], size: tuple[int, int], scale: float, row: dict
) -> list[dict]:
    items = []
    order = sorted(range(len(instances)), key=lambda n: -np.prod(instances[n]['bbox'][2:]))
    for n in order:  # large ones first, small ones on top
        instance = instances[n]
        item = {
            'c': row[instance['category_id']],
            'b': [round(v * scale, 1) for v in instance['bbox']],
            'k': states[n],
        }
        if instance.get('segmentation'):
            item['p'] = outline(instance['segmentation'], size, scale)
        if 'score' in instance:
            item['s'] = round(instance['score'], 3)
        items.append(item)
    return items


def _picture(path: Path, record: dict) -> tuple[str, int, int]:
    """(data URL, width, height) of the reduced image.

    Raises:
        OSError: if it cannot be read, or does not have the size that the annotations say.
    """
    picture = Image.fromarray(read_rgb(path))
    if picture.size != (record['width'], record['height']):
        raise OSError(
            f'it is {picture.width} x {picture.height} pixels, its annotations say '
            f'{record["width"]} x {record["height"]}'
        )
    picture = ImageOps.contain(picture, (SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, 'JPEG', quality=QUALITY, optimize=True)
    text = base64.b64encode(data.getvalue()).decode()
    return f'data:image/jpeg;base64,{text}', picture.width, picture.height


def build(
    content: dict,
    images: Path,
    matches: list[dict[int, ImageMatch]],
    ids: list[int],
    num: int,
) -> tuple[list[dict], list[str]]:
    """(entries for the page, images that could not be read).

    Args:
        content: a COCO instances file.
        images: folder of its images.
        matches: for every run, image id -> match.
        ids: category ids in the order of the page's classes.
        num: see :func:`choose`.
    """
    row = {c: k for k, c in enumerate(ids)}
    records = {r['id']: r for r in content['images']}
    entries, unread = [], []
    for image, groups, values in choose(matches, num):
        record = records[image]
        try:
            source, width, height = _picture(images / record['file_name'], record)
        except OSError as error:
            unread.append(f'{record["file_name"]}: {getattr(error, "strerror", None) or error}')
            continue
        size, scale = (record['height'], record['width']), width / record['width']
        sides: list[dict] = []
        for per_image, quality in zip(matches, values, strict=True):
            match = per_image[image]
            sides.append(
                {
                    'q': round(quality, 4),
                    'found': _items(match.found, match.found_state, size, scale, row),
                    'truth': match.truth_state,
                }
            )
        first = matches[0][image]
        truth = _items(first.truth, ['truth'] * len(first.truth), size, scale, row)
        order = sorted(range(len(first.truth)), key=lambda n: -np.prod(first.truth[n]['bbox'][2:]))
        for side in sides:
            side['truth'] = [side['truth'][n] for n in order]
        entries.append(
            {
                'file': record['file_name'],
                'w': width,
                'h': height,
                'src': source,
                'groups': groups,
                'truth': truth,
                'runs': sides,
            }
        )
    return entries, unread
