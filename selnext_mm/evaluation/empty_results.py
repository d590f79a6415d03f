"""COCO evaluation of a detector that does not find anything yet."""

from functools import partial

from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger


def _load_results(api, predictions):
    """``COCO.loadRes`` that also accepts an empty list, for a data set without detections."""
    if len(predictions):
        return type(api).loadRes(api, predictions)
    MMLogger.get_current_instance().warning(
        'no prediction at all, so every AP and AR is 0. A detector that has hardly been trained '
        'has no score above its threshold; to rank what it has all the same: '
        '--cfg-options model.test_cfg.rcnn.score_thr=0 (one stage: model.test_cfg.score_thr=0)'
    )
    nothing = type(api)()
    nothing.dataset = {**api.dataset, 'annotations': []}
    nothing.createIndex()
    return nothing


def evaluate_empty_results(evaluator: Evaluator) -> None:
    """Make the COCO metrics of an evaluator print a table of zeros if there is no prediction.

    mmdet 3.3.0 ends the evaluation on the IndexError that ``pycocotools`` raises for an empty
    list: one line of error, but no table and no metric for ``save_best`` and the log.

    Args:
        evaluator: only its metrics with a COCO object (``_coco_api``) are changed.
    """
    for metric in evaluator.metrics:
        api = getattr(metric, '_coco_api', None)
        if hasattr(api, 'loadRes'):
            # Not a lambda: use_mp_eval passes the object to other processes.
            api.loadRes = partial(_load_results, api)
