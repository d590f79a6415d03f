"""Evaluations without the masks of the labels, which nothing there reads."""

from collections.abc import Iterable

from mmengine.config import Config
from mmengine.hooks import Hook

from selnext_mm.config.walk import iter_evaluators, loader_parts

READERS = ('PredictionImagesHook',)  # they draw the labels beside the predictions
KNOWN = ('mmengine.', 'mmdet.', 'mmcv.', 'selnext_mm.')
METRICS = ('CocoMetric', 'FasterCocoMetric', 'LVISMetric')  # that read an annotation file


def _reads_labels(hook: Hook) -> bool:
    """Whether a hook may read the labels of an evaluation."""
    kind = type(hook)
    return (
        kind.__name__ in READERS
        or bool(getattr(hook, 'draw', False))
        or not kind.__module__.startswith(KNOWN)
    )


def without_unused_masks(loader, name: str, cfg: Config, hooks: Iterable[Hook]):
    """``loader``, which is ``cfg[f'{name}_dataloader']``, without masks if nothing reads them.

    COCO's metrics with an ``ann_file`` read the labels themselves. A pipeline that also loads
    them makes a bitmap of the whole image for every object: 88 objects in 4000x3000 pixels fill
    several gigabytes.

    Args:
        loader: a dict, or an object that was built, which is returned.
        name: ``val`` or ``test``.
        cfg: of the runner.
        hooks: of the runner.
    """
    metrics = [m for key, m in iter_evaluators(cfg) if key == f'{name}_evaluator']
    read = not metrics or not all(
        metric.get('ann_file') and str(metric.get('type')).split('.')[-1] in METRICS
        for metric in metrics
    )
    if not isinstance(loader, dict) or read or any(map(_reads_labels, hooks)):
        return loader
    own = Config(dict(loader=loader))  # a copy
    for _, step, _ in loader_parts(own, 'loader'):
        if str(step.get('type')).split('.')[-1] == 'LoadAnnotations' and step.get('with_mask'):
            step['with_mask'] = False
    return own.loader
