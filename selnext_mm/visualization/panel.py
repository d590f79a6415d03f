"""Images of COCO instances: predictions beside the ground truth, and a contact sheet."""

import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from selnext_mm.datasets.check.drawn import KEYS, check_drawn, check_results
from selnext_mm.datasets.coco_content import check_records, load_coco
from selnext_mm.datasets.pixels import read_rgb
from selnext_mm.errors import UserError
from selnext_mm.text import counted
from selnext_mm.visualization import SCORE_THR
from selnext_mm.visualization.draw import (
    Cell,
    Instance,
    class_colours,
    compose,
    draw_instances,
    save_sheet,
)


def choose_images(ids: list[int], num: int, seed: int | None = None) -> list[int]:
    """``num`` of the sorted ids: the middle of each of ``num`` equal parts, or one by ``seed``."""
    ids, num = sorted(ids), min(num, len(ids))
    rng = None if seed is None else np.random.default_rng(seed)
    places = [(i + (0.5 if rng is None else rng.uniform())) * len(ids) / num for i in range(num)]
    return [ids[int(place)] for place in places]


def _read_image(folder: str | os.PathLike, record: dict) -> np.ndarray:
    path = Path(folder) / record['file_name']
    try:
        image = read_rgb(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f'cannot read the image {path}: {reason}') from error
    if image.shape[:2] != (record['height'], record['width']):
        raise UserError(
            f'{path} is {image.shape[1]} x {image.shape[0]} pixels, its annotations say '
            f'{record["width"]} x {record["height"]}; give the folder that they were made for'
        )
    return image


def _truth(content: dict) -> dict[int, list[Instance]]:
    result = defaultdict(list)
    for a in content['annotations']:
        crowd = bool(a.get('iscrowd', 0))
        item = Instance(a['category_id'], a['bbox'], a.get('segmentation'), crowd=crowd)
        result[a['image_id']].append(item)
    return result


def _legend(content: dict, instances: list[Instance], colours: dict) -> list[tuple]:
    used = {item.category_id for item in instances}
    return [(c['name'], colours[c['id']]) for c in content['categories'] if c['id'] in used]


def draw_sheet(
    content: dict,
    images: str | os.PathLike,
    out: str | os.PathLike,
    num: int = 20,
    columns: int | None = 5,
    title: str = 'Ground truth',
) -> tuple[int, int]:
    """Contact sheet of the ground truth of ``num`` images; returns its (width, height)."""
    truth, colours = _truth(content), class_colours(content['categories'])
    names = {c['id']: c['name'] for c in content['categories']}
    records = {r['id']: r for r in content['images']}
    cells, shown = [], []
    for i in choose_images([i for i in records if truth[i]] or list(records), num):
        tile = draw_instances(
            _read_image(images, records[i]), truth[i], names, colours, 280, 0.25, False
        )
        cells.append(Cell([tile], [counted(len(truth[i]), 'object')], records[i]['file_name']))
        shown += truth[i]
    note = f'{len(cells)} of {len(records)} images, {counted(len(shown), "object")}'
    sheet = compose(title, note, cells, _legend(content, shown, colours), columns)
    save_sheet(sheet, out)
    return sheet.size


def draw_panel(
    content: dict,
    results: list[dict],
    images: str | os.PathLike,
    out: str | os.PathLike,
    num: int = 8,
    score_thr: float = SCORE_THR,
    columns: int | None = None,
    seed: int | None = None,
) -> dict[str, int]:
    """Ground truth (left) beside predictions (right) of ``num`` images, as one PNG.

    ``content`` and ``results`` as :func:`load_annotations` and :func:`load_results` return
    them. Returns the counts ``images``, ``of``, ``objects``, ``predictions``, ``width`` and
    ``height``. Raises :class:`UserError` for an image or ``out`` that cannot be used.
    """
    truth, colours = _truth(content), class_colours(content['categories'])
    names = {c['id']: c['name'] for c in content['categories']}
    records = {r['id']: r for r in content['images']}
    found = defaultdict(list)
    for r in results:
        if r['score'] >= score_thr:
            item = Instance(r['category_id'], r['bbox'], r.get('segmentation'), r['score'])
            found[r['image_id']].append(item)
    cells, left, right = [], [], []
    for i in choose_images(
        [i for i in records if truth[i] or found[i]] or list(records), num, seed
    ):
        image = _read_image(images, records[i])
        tiles = [draw_instances(image, side[i], names, colours) for side in (truth, found)]
        captions = [f'ground truth ({len(truth[i])})', f'prediction ({len(found[i])})']
        cells.append(Cell(tiles, captions, records[i]['file_name']))
        left += truth[i]
        right += found[i]
    note = (
        f'{len(cells)} of {len(records)} images, {counted(len(left), "object")}, '
        f'{counted(len(right), "prediction")} with score \u2265 {score_thr:g}'
    )
    legend = _legend(content, left + right, colours)
    sheet = compose('Ground truth and prediction', note, cells, legend, columns)
    save_sheet(sheet, out)
    return {
        'images': len(cells),
        'of': len(records),
        'objects': len(left),
        'predictions': len(right),
        'width': sheet.width,
        'height': sheet.height,
    }


def _load_json(path: Path) -> dict | list:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(f'cannot read the results {path}: {error.strerror or error}') from error
    except (ValueError, RecursionError) as error:
        raise UserError(f'the results {path} are not JSON: {error}') from error


def load_annotations(path: str | os.PathLike) -> dict:
    """A COCO instances file; :class:`UserError` if it is missing, damaged or empty.

    It has only those annotations that can be drawn, see
    :func:`~selnext_mm.datasets.check.drawn.check_drawn`.
    """
    content = load_coco(path)
    if not content['categories']:
        raise UserError(f'{path} lists no images or no categories: there is nothing to draw')
    check_records(content, path)
    check_drawn(content, path)
    return content


def load_results(path: str | os.PathLike, content: dict, masks: bool = False) -> list[dict]:
    """Predictions as written by CocoMetric's ``outfile_prefix``.

    ``path`` names the file, or the prefix of PREFIX.segm.json or PREFIX.bbox.json. ``masks``: every
    prediction needs a mask. Raises :class:`UserError` if the file is missing, damaged, empty or
    belongs to other annotations.
    """
    path = Path(path)
    names = (path, Path(f'{path}.segm.json'), Path(f'{path}.bbox.json'))
    results = _load_json(next((p for p in names if p.is_file()), path))
    if not isinstance(results, list):
        raise UserError(f'the results {path} are not a list of predictions ({", ".join(KEYS)})')
    if not results:
        raise UserError(
            f'the results {path} are empty: the model predicted nothing; train it for longer, '
            'or check which checkpoint was tested'
        )
    check_results(results, content, path, masks)
    return results
