"""COCO metrics with custom IoU thresholds and numbers of detections."""

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import numpy as np
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MMLogger

# Index in COCO's ten thresholds -> threshold: mmdet's table of classes uses these indices.
COLUMNS = {0: 0.5, 5: 0.75}
DETECTIONS = 100  # per image, for which pycocotools reports mAP
DIGITS = 6  # of a threshold: np.arange's 0.7500000000000002 is 0.75


class ByThreshold(np.ndarray):
    """A precision (T, R, K, A, M) whose indices 0 and 5 give the thresholds 0.5 and 0.75.

    A missing threshold gives -1, pycocotools' mark of absent values. Other indices work as for a
    plain array.
    """

    places: dict[int, int | None]

    def __getitem__(self, key):
        plain = self.view(np.ndarray)
        if not (isinstance(key, tuple) and type(key[0]) is int and key[0] in COLUMNS):
            return plain[key]
        place = self.places[key[0]]
        if place is None:
            return np.full_like(plain[(0, *key[1:])], -1)
        return plain[(place, *key[1:])]


def by_threshold(precision: np.ndarray, thresholds) -> ByThreshold:
    """``precision`` as :class:`ByThreshold`; ``thresholds`` are those of its first axis."""
    at = [round(float(t), DIGITS) for t in thresholds]
    result = precision.view(ByThreshold)
    result.places = {k: at.index(t) if t in at else None for k, t in COLUMNS.items()}
    return result


def _compute(compute: Callable, results: list) -> dict:
    from pycocotools.cocoeval import COCOeval

    summarize = COCOeval.summarize

    def summarized(self) -> None:
        summarize(self)
        self.eval['precision'] = by_threshold(self.eval['precision'], self.params.iouThrs)

    with patch.object(COCOeval, 'summarize', summarized):  # faster-coco-eval calls it, too
        return compute(results)


def take_own_thresholds(evaluator: Evaluator) -> None:
    """Make the COCO metrics of an evaluator honour their arguments.

    - Custom IoU thresholds become the array that pycocotools needs.
    - mmdet's table of classes reports the first and sixth threshold as AP50 and AP75, whatever
    they are, or raises an IndexError. Here it gets the values at 0.5 and 0.75, or nan.
    - There is a warning if the numbers of detections lack 100, because mAP is -1 then.

    Args:
        evaluator: its metrics are changed.
    """
    for metric in evaluator.metrics:
        if isinstance(metric, BaseMetric) and not hasattr(metric, 'cat_ids'):
            continue  # not a COCO metric; VOCMetric and others need a list
        thresholds = getattr(metric, 'iou_thrs', None)
        if isinstance(thresholds, list | tuple | float):  # pycocotools compares it with numbers
            metric.iou_thrs = np.atleast_1d(np.round(np.asarray(thresholds, float), DIGITS))
        if getattr(metric, 'classwise', False):
            metric.compute_metrics = partial(_compute, metric.compute_metrics)
        numbers, names = getattr(metric, 'proposal_nums', ()), getattr(metric, 'metrics', ())
        if {'bbox', 'segm'} & set(names) and len(numbers) and DETECTIONS not in numbers:
            MMLogger.get_current_instance().warning(
                f'proposal_nums is {tuple(numbers)}: mAP, which pycocotools takes at {DETECTIONS} '
                f'detections of an image, will be -1. To have it, give {DETECTIONS} among them'
            )
