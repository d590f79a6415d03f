"""Why a detector's AP is not 1: six kinds of error, and the AP gained by fixing each.

The analysis of Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors"
(ECCV 2020), on the matches of COCO's evaluation at one IoU threshold.
"""

from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from selnext_mm.evaluation.matching import overlaps
from selnext_mm.evaluation.precision import precision_at

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU: found at or above the first; background below the second
# Kinds of error of predictions, and of objects.
ERRORS = ('classification', 'localisation', 'both', 'duplicate', 'background', 'missed')
FALSE, UNFOUND = 'all false positives', 'all false negatives'
RECALLS = np.linspace(0, 1, 101)


@dataclass
class Outcomes:
    """Outcomes of N predictions and M objects, without crowds and predictions inside them.

    Predictions are in the order of COCO's curve: by descending score, then by image and position.

    Attributes:
        classes: names of the K classes.
        predictions: N COCO results.
        category: (N,) numbers of their classes.
        score: (N,).
        outcome: (N,) 'right', or one of the first five of :data:`ERRORS`.
        own_iou: (N,) the largest IoU with an object of the same class; 0 without one.
        own_object: (N,) that object; -1 without one.
        other_iou: (N,) the largest IoU with an object of another class; 0 without one.
        other_object: (N,) that object; -1 without one.
        objects: M COCO annotations.
        object_category: (M,).
        object_score: (M,) score of the prediction matched to the object; -1 without one.
    """

    classes: list[str]
    predictions: list[dict]
    category: np.ndarray
    score: np.ndarray
    outcome: np.ndarray
    own_iou: np.ndarray
    own_object: np.ndarray
    other_iou: np.ndarray
    other_object: np.ndarray
    objects: list[dict]
    object_category: np.ndarray
    object_score: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) True for predictions that were matched to an object."""
        return self.outcome == 'right'

    @property
    def target(self) -> np.ndarray:
        """(N,) the object that a classification or localisation error was meant for; else -1."""
        own = np.where(self.outcome == 'localisation', self.own_object, -1)
        return np.where(self.outcome == 'classification', self.other_object, own)

    @property
    def matched(self) -> np.ndarray:
        """(M,) True where a prediction was matched to the object."""
        return self.object_score >= 0

    @property
    def missed(self) -> np.ndarray:
        """(M,) True for objects that no prediction was matched to or meant for."""
        meant = np.zeros(len(self.objects), bool)
        target = self.target
        meant[target[target >= 0]] = True
        return ~self.matched & ~meant


@dataclass
class ErrorTypes:
    """AP at the foreground threshold, and what fixing each kind of error adds to it.

    Attributes:
        ap: in 0..1; None without objects.
        gains: kind of :data:`ERRORS`, :data:`FALSE` and :data:`UNFOUND` -> gain of AP; None where
            no object would remain.
        counts: kind of :data:`ERRORS` -> how many.
        per_class: the same for each class: a prediction counts in the class that it names.
        classes: their names.
    """

    ap: float | None
    gains: dict[str, float | None]
    counts: dict[str, int]
    per_class: list[dict[str, int]]
    classes: list[str]


def _nearest(iou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(largest IoU, its object) of each of n predictions with m objects; (0, -1) without any."""
    if not iou.shape[1]:
        return np.zeros(len(iou)), np.full(len(iou), -1)
    best = iou.max(1)
    return best, np.where(best > 0, iou.argmax(1), -1)


def _judge(
    own: np.ndarray, other: np.ndarray, right: np.ndarray, foreground: float, background: float
) -> np.ndarray:
    """(n,) outcomes by the largest IoU with objects of the own class, and of others."""
    # The order of the paper's own code: if a prediction is near an object of its class, objects
    # of other classes are not considered.
    cases = {
        'right': right,
        'localisation': (own >= background) & (own < foreground),
        'classification': other >= foreground,
        'duplicate': own >= foreground,
        'both': other >= background,
    }
    outcome = np.full(len(own), 'background', object)
    for name, holds in reversed(cases.items()):
        outcome[holds] = name
    return outcome


def _by_image(run: COCOeval, at: int) -> tuple[dict, dict]:
    """Image -> {id of a prediction: right?}, and image -> {id of an object: score of its match}."""
    images = len(run.params.imgIds)
    predictions: dict = {i: {} for i in run.params.imgIds}
    objects: dict = {i: {} for i in run.params.imgIds}
    for k in range(len(run.params.catIds)):
        first = k * len(run.params.areaRng) * images  # the first area range is "all"
        for part in run.evalImgs[first : first + images]:
            if part is None:
                continue
            image = part['image_id']
            for key, match, ignored in zip(
                part['dtIds'], part['dtMatches'][at], part['dtIgnore'][at], strict=True
            ):
                if not ignored:
                    predictions[image][key] = match > 0
            for key, match, ignored in zip(
                part['gtIds'], part['gtMatches'][at], part['gtIgnore'], strict=True
            ):
                if not ignored:
                    objects[image][key] = run.cocoDt.anns[match]['score'] if match > 0 else -1
    return predictions, objects


def outcomes(
    run: COCOeval, foreground: float = FOREGROUND, background: float = BACKGROUND
) -> Outcomes:
    """Name the outcome of every prediction and object of an evaluation.

    A prediction is right if COCO's evaluation matches it to an object. Any other is, in this
    order, with t_b the background and t_f the foreground threshold of the IoU:

    - localisation: t_b <= IoU < t_f with an object of its class;
    - classification: IoU >= t_f with an object of another class;
    - duplicate: IoU >= t_f with an object of its class that a higher score has matched;
    - both: t_b <= IoU < t_f with an object of another class;
    - background: IoU < t_b with every object.

    Args:
        run: by :func:`~selnext_mm.evaluation.coco_scores.run_coco_eval`.
        foreground: one of the IoU thresholds of ``run``.
        background: IoU below which a prediction has nothing to do with an object.
    """
    at = [round(float(t), 2) for t in run.params.iouThrs].index(foreground)
    predictions, objects = _by_image(run, at)
    row = {c: k for k, c in enumerate(run.params.catIds)}
    kind = run.params.iouType
    found, truth, taken, parts = [], [], [], []
    for image in run.params.imgIds:
        ids = sorted(predictions[image])
        mine = [run.cocoDt.anns[i] for i in ids]
        there = [run.cocoGt.anns[i] for i in objects[image]]
        category = np.array([row[r['category_id']] for r in mine], int)
        same = category[:, None] == np.array([row[a['category_id']] for a in there], int)
        iou = overlaps(mine, there, run.cocoGt.imgs[image], kind)
        own, own_object = _nearest(np.where(same, iou, 0))
        other, other_object = _nearest(np.where(same, 0, iou))
        for place in (own_object, other_object):
            place[place >= 0] += len(truth)
        right = np.array([predictions[image][i] for i in ids], bool)
        outcome = _judge(own, other, right, foreground, background)
        parts.append((category, outcome, own, own_object, other, other_object))
        found += mine
        truth += there
        taken += objects[image].values()
    columns = [np.concatenate(p) for p in zip(*parts, strict=True)]
    score = np.array([r['score'] for r in found], float)
    order = np.argsort(-score, kind='stable')
    names = {c['id']: c['name'] for c in run.cocoGt.dataset['categories']}
    return Outcomes(
        classes=[names[c] for c in run.params.catIds],
        predictions=[found[n] for n in order],
        category=columns[0][order],
        score=score[order],
        outcome=columns[1][order],
        own_iou=columns[2][order],
        own_object=columns[3][order],
        other_iou=columns[4][order],
        other_object=columns[5][order],
        objects=truth,
        object_category=np.array([row[a['category_id']] for a in truth], int),
        object_score=np.array(taken, float),
    )


def average_precision(right: np.ndarray, objects: int) -> float:
    """Mean over 101 recalls of the best precision from there on: COCO's AP at one IoU.

    Args:
        right: (n,) True for right predictions, by descending score.
        objects: number of objects to find, at least 1.
    """
    hits = np.cumsum(right)[None]
    misses = np.arange(1, hits.shape[1] + 1) - hits
    return float(precision_at(hits, misses, objects, RECALLS).mean())


def mean_ap(category: np.ndarray, right: np.ndarray, objects: np.ndarray) -> float | None:
    """Mean of :func:`average_precision` over the classes that have objects; None without one.

    Args:
        category: (n,) class of each prediction, by descending score.
        right: (n,) True for right predictions.
        objects: (K,) objects of each class.
    """
    order = np.argsort(category, kind='stable')
    ends = np.searchsorted(category[order], np.arange(len(objects) + 1))
    right = right[order]
    values = [
        average_precision(right[ends[k] : ends[k + 1]], objects[k]) for k in np.flatnonzero(objects)
    ]
    return float(np.mean(values)) if values else None


def _fixed(o: Outcomes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(class, right) of the predictions that remain once errors of one kind are fixed.

    Of those meant for one object that is not found yet, the best becomes right; the others are
    removed.
    """
    keep, category, right = o.outcome != name, o.category.copy(), o.right.copy()
    target, matched = o.target, o.matched
    open_ = np.flatnonzero((target >= 0) & ~keep)
    open_ = open_[~matched[target[open_]]]
    meant, first = np.unique(target[open_], return_index=True)
    best = open_[first]
    keep[best], right[best], category[best] = True, True, o.object_category[meant]
    return category[keep], right[keep]


def error_types(o: Outcomes) -> ErrorTypes:
    """Count the errors, and compute the gain of AP if all of one kind were fixed.

    - classification, localisation: the prediction with the best score becomes right for the
      object that it was meant for, unless that has been found; all others are removed;
      - both, duplicate, background: the predictions are removed;
      - missed: the objects are removed, so that the curve reaches as far as if the detector were
      as precise on them; a class without remaining objects is not part of the mean;
      - all false positives, all false negatives: every unmatched prediction, or object, is removed.

    The gains do not add up to 1 - AP, since one error can hide another.
    """
    size = len(o.classes)
    objects = np.bincount(o.object_category, minlength=size)
    found = np.bincount(o.object_category[o.matched], minlength=size)
    missed = np.bincount(o.object_category[o.missed], minlength=size)
    base = mean_ap(o.category, o.right, objects)
    fixed = {name: mean_ap(*_fixed(o, name), objects) for name in ERRORS[:-1]}
    fixed['missed'] = mean_ap(o.category, o.right, objects - missed)
    fixed[FALSE] = mean_ap(o.category[o.right], o.right[o.right], objects)
    fixed[UNFOUND] = mean_ap(o.category, o.right, found)
    gains = {
        name: None if base is None or value is None else value - base
        for name, value in fixed.items()
    }
    columns = {n: np.bincount(o.category[o.outcome == n], minlength=size) for n in ERRORS[:-1]}
    columns['missed'] = missed
    per_class = [{name: int(column[k]) for name, column in columns.items()} for k in range(size)]
    counts = {name: sum(row[name] for row in per_class) for name in ERRORS}
    return ErrorTypes(base, gains, counts, per_class, o.classes)
