"""COCO evaluation of a detector that finds nothing yet."""

from functools import partial

from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger


def _load_results(api, predictions):
    """``COCO.loadRes``, which also takes an empty list: the data set without a detection."""
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
    """Let the COCO metrics of an evaluator print a table of zeros for no prediction.

    mmdet 3.3.0 takes ``pycocotools``' IndexError for an empty list as the end of the evaluation:
    one line of error, no table and no number, so that ``save_best`` and the log lack the metric.

    Args:
        evaluator: its metrics that hold a COCO object (``_coco_api``) are changed, others not.
    """
    for metric in evaluator.metrics:
        api = getattr(metric, '_coco_api', None)
        if hasattr(api, 'loadRes'):
            # Not a lambda: use_mp_eval hands the object to other processes.
            api.loadRes = partial(_load_results, api)
