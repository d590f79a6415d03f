"""Monitored metrics: does the validation produce one of that name?

These are ``save_best`` of a checkpoint hook, and ``monitor`` of early stopping and of schedulers
such as ReduceOnPlateauLR. mmengine looks the name up only after the first validation. A wrong one
is then a KeyError, or a warning and a run that never stops.
"""

from collections.abc import Iterable, Iterator, Mapping

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope

from selnext_mm.config.walk import (
    iter_evaluator_types,
    iter_evaluators,
    iter_hooks,
    iter_schedulers,
)
from selnext_mm.errors import UserError
from selnext_mm.text import near, preview

COCO = ('CocoMetric', 'FasterCocoMetric')
COCO_GIVEN = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')  # by default
# Arguments with which these metrics produce other names.
OTHER_NAMES = ('metric_items', 'classwise', 'iou_thrs', 'format_only', 'thrs')


def check_monitored(cfg: Config, loaders: Iterable[str]) -> None:
    """Raise :class:`UserError` for a monitored name that the validation does not produce.

    There is no error where the names are unknown: for third-party metrics without a prefix, and
    for several data sets, which add their own prefix.
    """
    if 'val_dataloader' not in loaders or not cfg.get('val_evaluator'):
        return
    kinds = [kind for name, kind in iter_evaluator_types(cfg) if name == 'val_evaluator']
    if any(kind not in (None, 'Evaluator', 'mmengine.Evaluator') for kind in kinds):
        return
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        given = [_names(node) for name, node in iter_evaluators(cfg) if name == 'val_evaluator']
    if not given or None in given:
        return
    whole = {name for names in given if names for name in names if not name.endswith('/')}
    prefixes = {name for names in given if names for name in names if name.endswith('/')}
    for place, wanted in _monitored(cfg):
        if wanted in whole or wanted.startswith(tuple(prefixes)):
            continue
        names = [*sorted(whole), *(f'{prefix}...' for prefix in sorted(prefixes))]
        likely = [n for n in names if n.endswith(f'/{wanted}')] or near(wanted, names, 1)
        hint = f' (did you mean {likely[0]!r}?)' if likely else ''
        raise UserError(
            f'{place} = {wanted!r} in {cfg.filename}: the validation gives no metric of that '
            f'name{hint}; it gives {preview(names, 16)}'
        )


def _monitored(cfg: Config) -> Iterator[tuple[str, str]]:
    """(place, name of a metric) for everything that monitors one."""
    for hook in iter_hooks(cfg):
        wanted = hook.get('save_best')
        for name in wanted if isinstance(wanted, list | tuple) else [wanted]:
            if isinstance(name, str) and name != 'auto':
                yield 'save_best of the checkpoint hook', name
        if _kind(hook).endswith('EarlyStoppingHook') and isinstance(hook.get('monitor'), str):
            yield f'monitor of {_kind(hook)}', hook['monitor']
    for place, scheduler in iter_schedulers(cfg):
        if _kind(scheduler).startswith('ReduceOnPlateau'):
            name = scheduler.get('monitor', 'loss')  # mmengine's default
            if isinstance(name, str):
                yield f'{place}.monitor', name


def _kind(node: Mapping) -> str:
    return str(getattr(node.get('type'), '__name__', node.get('type'))).rpartition('.')[2]


def _names(node: Mapping) -> list[str] | None:
    """The names of a metric, or 'prefix/' if only that is known; None if nothing is known."""
    kind = node.get('type')
    if isinstance(kind, str):
        with registry.METRICS.switch_scope_and_registry(node.get('_scope_')) as scoped:
            kind = scoped.get(kind)
    prefix = node.get('prefix') or getattr(kind, 'default_prefix', None)
    if not prefix:
        return None
    if any(node.get(key) for key in OTHER_NAMES):
        return [f'{prefix}/']
    name = getattr(kind, '__name__', '')
    if name in COCO:
        metric = node.get('metric', 'bbox')
        metrics = [metric] if isinstance(metric, str) else metric
        if set(metrics) <= {'bbox', 'segm'}:
            return [f'{prefix}/{m}_{item}' for m in metrics for item in COCO_GIVEN]
    if name == 'Accuracy':
        topk = node.get('topk', (1,))
        return [f'{prefix}/top{k}' for k in ([topk] if isinstance(topk, int) else topk)]
    return [f'{prefix}/']
