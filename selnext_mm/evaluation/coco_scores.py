"""AP, precision-recall curves and size buckets of COCO predictions, by pycocotools."""

import copy
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from selnext_mm.datasets.coco_api import without_its_prints
from selnext_mm.datasets.coco_content import for_scoring, normalise

SIZES = ('small', 'medium', 'large')  # below 32x32, up to 96x96, above; in pixels


@dataclass
class Scores:
    """Scores of one run and one kind ('bbox' or 'segm'); None where there is no object.

    ``precision``: (T, R, K), T the IoU thresholds 0.5..0.95, R the recalls 0..1 in 101 steps, K
    the classes; NaN where a class has no object.
    """

    kind: str
    classes: list[str]
    counts: list[int]
    summary: dict[str, float | None]
    per_class: list[dict[str, float | None]]
    precision: np.ndarray


def mean(values: np.ndarray) -> float | None:
    """Mean of the valid values (pycocotools marks absent values by -1)."""
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def scores_of(evaluation, k: int | None = None) -> dict[str, float | None]:
    """AP, AP50, AP75, AR, and AP of small, medium and large objects, in 0..1.

    Means of the precision (AR: of the recall) over recall levels and IoU thresholds, for the
    largest ``maxDets`` evaluated. None if there is no object of this size, or no such threshold.

    Args:
        evaluation: a ``COCOeval`` that has been accumulated.
        k: index of a class in ``params.catIds``; None for all.
    """
    # (T, R, K, A, M) and (T, K, A, M)
    precision, recall = evaluation.eval['precision'][..., -1], evaluation.eval['recall'][..., -1]
    if k is not None:
        precision, recall = precision[:, :, k : k + 1], recall[:, k : k + 1]
    at = [round(float(t), 2) for t in evaluation.params.iouThrs]
    table = {'AP': mean(precision[..., 0])}
    for name, threshold in (('AP50', 0.5), ('AP75', 0.75)):
        table[name] = mean(precision[at.index(threshold), ..., 0]) if threshold in at else None
    table['AR'] = mean(recall[..., 0])
    return table | {f'AP {size}': mean(precision[..., i]) for i, size in enumerate(SIZES, 1)}


def best_f1(evaluation, k: int) -> dict[str, float | None]:
    """The score threshold at which a class has the largest F1, at an IoU of 0.5.

    F1 = 2 TP / (predictions + objects); crowds and predictions inside them are left out.

    Args:
        evaluation, k: see :func:`scores_of`.

    Returns:
        ``F1`` and ``best score``; None if there is no object, or nothing is found.
    """
    params = evaluation.params
    images, at = len(params.imgIds), [round(float(t), 2) for t in params.iouThrs].index(0.5)
    first = k * len(params.areaRng) * images
    parts = [e for e in evaluation.evalImgs[first : first + images] if e is not None]
    objects = sum(int((np.asarray(e['gtIgnore']) == 0).sum()) for e in parts)
    nothing: dict[str, float | None] = {'F1': None, 'best score': None}
    if not objects:
        return nothing
    scores = np.concatenate([e['dtScores'] for e in parts])
    matched = np.concatenate([e['dtMatches'][at] for e in parts]) > 0
    counted = ~np.concatenate([e['dtIgnore'][at] for e in parts]).astype(bool)
    order = np.argsort(-scores, kind='stable')
    order = order[counted[order]]
    if not order.size:
        return nothing
    scores, right = scores[order], np.cumsum(matched[order])
    f1 = 2 * right / (np.arange(1, len(scores) + 1) + objects)
    f1[:-1][scores[:-1] == scores[1:]] = -1  # a threshold keeps all equal scores
    best = int(f1.argmax())
    return {'F1': float(f1[best]), 'best score': float(scores[best])}


def per_class(evaluation) -> dict[str, dict[str, float | None]]:
    """Class name -> AP, AP50, AP75 and AP of small, medium and large objects, to four digits.

    Args:
        evaluation: see :func:`scores_of`.
    """
    short = {'AP small': 'APs', 'AP medium': 'APm', 'AP large': 'APl'}
    table = {}
    for k, category in enumerate(evaluation.params.catIds):
        scores = scores_of(evaluation, k)
        table[evaluation.cocoGt.cats[category]['name']] = {
            short.get(name, name): None if value is None else round(value, 4)
            for name, value in scores.items()
            if name != 'AR'
        }
    return table


def rle(segmentation: list | dict, height: int, width: int) -> dict:
    """Polygons, RLE or compressed RLE -> compressed RLE."""
    if isinstance(segmentation, list):
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    if isinstance(segmentation['counts'], list):
        return mask_utils.frPyObjects(segmentation, height, width)
    return segmentation


def complete(content: dict) -> dict:
    """A copy of a COCO file in the form that is scored: fields completed, ids from 1."""
    content = copy.deepcopy(content)
    normalise(content)
    return for_scoring(content, 'the annotations')


def category_ids(content: dict, names: list[str] | None) -> list[int]:
    """Ids of the model's classes: those in ``names``, else all of the file."""
    known = {c['name']: c['id'] for c in content['categories']}
    chosen = [known[n] for n in names or () if n in known]
    return chosen or [c['id'] for c in content['categories']]


def run_coco_eval(
    content: dict, results: list[dict], kind: str, names: list[str] | None
) -> COCOeval:
    """COCO's evaluation of ``results``, matched and accumulated.

    Args:
        content: a COCO instances file.
        results: COCO results: ``image_id``, ``category_id``, ``score``, ``bbox`` and, for
            'segm', ``segmentation``.
        kind: 'bbox' or 'segm'.
        names: the classes of the model; None for all of the file.
    """
    content = complete(content)
    # pycocotools takes the area of a prediction from its box if there is one; the size buckets
    # of masks need the mask's, as in MMDetection's metric.
    other = 'segmentation' if kind == 'bbox' else 'bbox'
    results = [{k: v for k, v in r.items() if k != other} for r in results]
    if kind == 'segm':
        images = {i['id']: (i['height'], i['width']) for i in content['images']}
        for r in results:
            r['segmentation'] = rle(r['segmentation'], *images[r['image_id']])
    with without_its_prints():
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        found = truth.loadRes(results)
        run = COCOeval(truth, found, kind)
        run.params.catIds = category_ids(content, names)
        run.evaluate()
        run.accumulate()
    return run


def read_scores(run: COCOeval) -> Scores:
    """The scores that a report shows of an evaluation by :func:`run_coco_eval`."""
    content, ids = run.cocoGt.dataset, run.params.catIds
    per_class = [scores_of(run, k) | best_f1(run, k) for k in range(len(ids))]
    named = {c['id']: c['name'] for c in content['categories']}
    count = dict.fromkeys(ids, 0)
    for annotation in content['annotations']:
        if annotation['category_id'] in count and not annotation['iscrowd']:
            count[annotation['category_id']] += 1
    curves = run.eval['precision'][:, :, :, 0, -1].copy()
    curves[curves < 0] = np.nan
    classes, counts = [named[i] for i in ids], list(count.values())
    return Scores(run.params.iouType, classes, counts, scores_of(run), per_class, curves)


def evaluate(content: dict, results: list[dict], kind: str, names: list[str] | None) -> Scores:
    """The scores of ``results``; arguments as in :func:`run_coco_eval`."""
    return read_scores(run_coco_eval(content, results, kind, names))


def size_counts(content: dict, names: list[str] | None) -> list[int]:
    """Objects of each size bucket, in the order of :data:`SIZES`."""
    ids, counts = set(category_ids(content, names)), [0, 0, 0]
    for annotation in complete(content)['annotations']:
        if annotation['category_id'] in ids and not annotation['iscrowd']:
            counts[(annotation['area'] > 32**2) + (annotation['area'] > 96**2)] += 1
    return counts
