"""COCO's box and mask AP by faster-coco-eval: mmdet's metric with the same numbers, but faster."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from unittest.mock import patch

from mmengine.registry import METRICS

from selnext_mm.datasets.coco_api import without_its_prints
from selnext_mm.errors import UserError

PACKAGE = 'faster-coco-eval'
STOCK = ('CocoMetric', 'mmdet.CocoMetric')


def require_faster_coco_eval() -> None:
    """Raise :class:`UserError` unless faster-coco-eval is installed."""
    if find_spec('faster_coco_eval') is None:
        raise UserError(
            f"the fast evaluation needs {PACKAGE}: pip install 'selnext_mm[fast-eval]' "
            f'(or pip install {PACKAGE}), or leave it out'
        )


def _plain_ids(truth) -> bool:
    """Whether image and category ids fit a C++ unsigned int, and no object has the id 0.

    The number 0 in place of an object means "no match".
    """
    return 0 not in truth.anns and all(
        type(i) is int and 0 <= i < 2**31 for ids in (truth.imgs, truth.cats) for i in ids
    )


def _numbered(truth, found) -> tuple:
    """(image id -> number, category id -> number), and both ``COCO`` objects with the numbers.

    Numbers follow the sorted ids, because pycocotools breaks ties of score by id.
    """
    numbers = tuple(
        {key: n for n, key in enumerate(sorted(ids), 1)} for ids in (truth.imgs, truth.cats)
    )
    images, categories = numbers
    results = []
    for coco in (truth, found):
        new = type(truth)()
        new.dataset = {
            **coco.dataset,
            'images': [{**i, 'id': images[i['id']]} for i in truth.dataset['images']],
            'categories': [{**c, 'id': categories[c['id']]} for c in truth.dataset['categories']],
            'annotations': [
                {
                    **a,
                    'id': n,
                    'image_id': images.get(a['image_id'], 0),
                    'category_id': categories.get(a['category_id'], 0),
                }
                for n, a in enumerate(coco.dataset.get('annotations', ()), 1)
            ],
        }
        with without_its_prints():
            new.createIndex()
        results.append(new)
    return numbers, *results


@lru_cache
def evaluator_class() -> type:
    """faster-coco-eval's ``COCOeval`` with the summary of pycocotools.

    Its own summary gives mAP at the largest ``maxDets`` (1000 in mmdet), but pycocotools gives
    it at 100; matching and accumulation are the same.
    """
    require_faster_coco_eval()
    from faster_coco_eval import COCOeval_faster
    from pycocotools.cocoeval import COCOeval

    class FastCOCOeval(COCOeval_faster):
        def __init__(self, cocoGt=None, cocoDt=None, *args, **kwargs) -> None:
            self._numbers = None
            if cocoGt is not None and cocoDt is not None and not _plain_ids(cocoGt):
                self._numbers, cocoGt, cocoDt = _numbered(cocoGt, cocoDt)
            super().__init__(cocoGt, cocoDt, *args, **kwargs)

        def evaluate(self) -> None:
            for place, name in enumerate(('imgIds', 'catIds')) if self._numbers else ():
                numbers = self._numbers[place]
                ids = getattr(self.params, name)
                setattr(self.params, name, [numbers.get(i, i) for i in ids])
            super().evaluate()

        def summarize(self) -> None:
            COCOeval.summarize(self)

    return FastCOCOeval


@lru_cache
def metric_class() -> type:
    """The class that :func:`FasterCocoMetric` builds, a subclass of mmdet's ``CocoMetric``."""
    from mmdet.evaluation.metrics import coco_metric

    fast = evaluator_class()

    class FasterCocoMetric(coco_metric.CocoMetric):
        def compute_metrics(self, results: list) -> dict[str, float]:
            # mmdet looks the evaluator up in its module and offers no other way to set it.
            with patch.multiple(coco_metric, COCOeval=fast, COCOevalMP=fast):
                return super().compute_metrics(results)

    return FasterCocoMetric


@METRICS.register_module()
def FasterCocoMetric(**kwargs):  # noqa: N802 - a registry name, as a class
    """mmdet's ``CocoMetric``, arguments and results, evaluated by faster-coco-eval.

    Raises:
        UserError: if faster-coco-eval is not installed.
    """
    return metric_class()(**kwargs)


def use_faster_coco(evaluators: list[dict]) -> int:
    """Turn mmdet's ``CocoMetric`` into ours, in place; return how many there were."""
    require_faster_coco_eval()
    chosen = [e for e in evaluators if e.get('type') in STOCK]
    for evaluator in chosen:
        evaluator['type'] = 'FasterCocoMetric'
    return len(chosen)


@contextmanager
def record_evaluations() -> Iterator[list]:
    """Collect the ``COCOeval`` objects, stock and fast ones, that are summarised in the block."""
    found: list = []
    if find_spec('pycocotools') is None:
        yield found
        return
    from pycocotools.cocoeval import COCOeval

    summarize = COCOeval.summarize

    def recorded(self) -> None:
        summarize(self)
        found.append(self)

    with patch.object(COCOeval, 'summarize', recorded):
        yield found
