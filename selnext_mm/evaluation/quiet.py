"""COCO metrics without pycocotools' ten lines of progress around the table of scores."""

import contextlib
import io
from collections.abc import Callable
from functools import partial

from mmengine.evaluator import Evaluator

ROW = ' Average '  # with which each line of pycocotools' table begins


def _compute(compute: Callable, shows_table: Callable[[], bool], results: list) -> dict:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        metrics = compute(results)
    rows = [line for line in printed.getvalue().splitlines() if line.startswith(ROW)]
    if rows and shows_table():
        print('\n'.join(rows))
    return metrics


def print_only_scores(evaluator: Evaluator, shows_table: Callable[[], bool]) -> None:
    """Leave of what the COCO metrics of ``evaluator`` print no more than the table of AP and AR.

    Args:
        evaluator: only its metrics with a COCO object (``_coco_api``) are changed.
        shows_table: whether the table is printed, asked at each evaluation; the log has AP anyway.
    """
    for metric in evaluator.metrics:
        if hasattr(metric, '_coco_api'):
            metric.compute_metrics = partial(_compute, metric.compute_metrics, shows_table)
