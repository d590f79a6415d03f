"""What a training gets beyond its config: parts that resume safely, AP of every class."""

from mmengine.config import Config

from selnext_mm.config.walk import iter_datasets, iter_evaluators, iter_hooks
from selnext_mm.datasets.check.config import class_names, dataset_class
from selnext_mm.evaluation.output import COCO_METRICS

LOOPS = {
    'EpochBasedTrainLoop': 'ResumableEpochBasedTrainLoop',
    'IterBasedTrainLoop': 'ResumableIterBasedTrainLoop',
}
STOCK_HOOKS = ('CheckpointHook', 'mmengine.CheckpointHook')
HOOK = 'SafeCheckpointHook'
CLASSES = 100  # with more classes there is no table of their AP after every epoch


def make_safe(cfg: Config) -> None:
    """Replace mmengine's checkpoint hook and training loop with ours, in place; stop at NaN.

    Types that a config names itself, other than mmengine's, are left as they are.
    """
    if not cfg.get('default_hooks'):
        cfg.default_hooks = {}
    hooks = cfg.default_hooks
    if 'checkpoint' not in hooks:
        hooks.checkpoint = dict(type='CheckpointHook', interval=1)  # as mmengine does
    if hooks.checkpoint and hooks.checkpoint.get('type') in STOCK_HOOKS:
        hooks.checkpoint.type = HOOK
    loop = cfg.train_cfg
    kind = loop.get('type')
    if kind is None:
        kind = 'EpochBasedTrainLoop' if loop.pop('by_epoch', True) else 'IterBasedTrainLoop'
    if isinstance(kind, str):
        loop['type'] = LOOPS.get(kind.removeprefix('mmengine.'), kind)
    present = {str(h.get('type')) for h in iter_hooks(cfg) if isinstance(h, dict)}
    if 'FiniteLossHook' not in present:
        hooks.finite_loss = dict(type='FiniteLossHook')
    # Other tools have to be able to load the copy of the config beside the checkpoints.
    custom = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = [custom['imports']] if isinstance(custom['imports'], str) else custom['imports']
    if 'selnext_mm' not in names:
        cfg.custom_imports = dict(custom, imports=[*names, 'selnext_mm'])


def add_class_ap(cfg: Config) -> None:
    """Let the COCO metrics of the validation give AP of every class, for up to ``CLASSES`` classes.

    A metric that has ``classwise`` itself, true or false, is left as it is.
    """
    names = [
        class_names(dataset_class(cfg, node), node) or ()
        for _, node in iter_datasets(cfg, ('val_dataloader',))
    ]
    if not names or max(map(len, names)) > CLASSES:
        return
    for place, metric in iter_evaluators(cfg):
        if place == 'val_evaluator' and metric.get('type') in COCO_METRICS:
            metric.setdefault('classwise', True)
