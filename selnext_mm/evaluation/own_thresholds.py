"""COCO metrics with IoU thresholds and numbers of detections of the user's own."""

from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import numpy as np
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MMLogger

# Place in COCO's ten thresholds -> threshold: mmdet's table of classes asks for these places.
COLUMNS = {0: 0.5, 5: 0.75}
DETECTIONS = 100  # of an image, at which pycocotools takes mAP
DIGITS = 6  # of a threshold: 0.7500000000000002, as np.arange gives it, is 0.75


class ByThreshold(np.ndarray):
    """A precision (T, R, K, A, M) whose places 0 and 5 are those of the thresholds 0.5 and 0.75.

    What has no such threshold is -1, pycocotools' mark of what is not there. Other keys give what
    they give of the plain array.
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

    with patch.object(COCOeval, 'summarize', summarized):  # faster-coco-eval's calls it, too
        return compute(results)


def take_own_thresholds(evaluator: Evaluator) -> None:
    """Let the COCO metrics of an evaluator count with what their arguments say.

    - IoU thresholds of one's own become the array that pycocotools needs.
    - mmdet's table of classes takes AP50 and AP75 of the first and sixth threshold: those of
      others under these names, or an IndexError. It gets those of 0.5 and 0.75, or nan.
    - Numbers of detections without 100 are warned of: mAP is -1 then.

    Args:
        evaluator: its metrics are changed.
    """
    for metric in evaluator.metrics:
        if isinstance(metric, BaseMetric) and not hasattr(metric, 'cat_ids'):
            continue  # not of COCO; VOCMetric and others ask for a list
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
