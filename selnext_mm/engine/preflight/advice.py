"""What the train command puts into a config so that nothing is lost, and what it warns of."""

from mmengine.config import Config
from torch import nn

from selnext_mm.config.walk import iter_hooks
from selnext_mm.models.backbones.base import Backbone

LOOPS = {
    'EpochBasedTrainLoop': 'ResumableEpochBasedTrainLoop',
    'IterBasedTrainLoop': 'ResumableIterBasedTrainLoop',
}
STOCK_HOOKS = ('CheckpointHook', 'mmengine.CheckpointHook')
HOOK = 'SafeCheckpointHook'


def make_safe(cfg: Config) -> None:
    """Replace mmengine's checkpoint hook and training loop by ours, in place; stop at NaN.

    What a config names itself, beyond mmengine's own types, is left as it is.
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
    # The copy of the config beside the checkpoints has to load in other tools.
    custom = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = [custom['imports']] if isinstance(custom['imports'], str) else custom['imports']
    if 'selnext_mm' not in names:
        cfg.custom_imports = dict(custom, imports=[*names, 'selnext_mm'])


def lr_for_batch(cfg: Config, processes: int) -> str | None:
    """A warning if the lr is meant for another batch than this run has; None if it fits.

    The batch is that of one update: images per process x processes x accumulated iterations.
    The rule is mmengine's: lr in proportion to the batch.
    """
    scale = cfg.get('auto_scale_lr') or {}
    base = scale.get('base_batch_size')
    loader, wrapper = cfg.train_dataloader, cfg.optim_wrapper
    images = loader.get('batch_size') or (loader.get('batch_sampler') or {}).get('batch_size')
    lr = (wrapper.get('optimizer') or {}).get('lr')
    if not base or not images or lr is None or scale.get('enable'):
        return None
    accumulated = wrapper.get('accumulative_counts', 1)
    batch = images * processes * accumulated
    if batch == base:
        return None
    factors = f'{images} images x {processes} process(es)'
    if accumulated > 1:
        factors += f' x {accumulated} accumulated'
    # mmengine's own scaling does not know of accumulation.
    option = '' if accumulated > 1 else ' (--auto-scale-lr does that)'
    return (
        f'lr {lr:g} is meant for a batch of {base}; this run has {batch} ({factors}). In '
        f'proportion it would be optim_wrapper.optimizer.lr={lr * batch / base:.4g}{option}'
    )


def _has_start(cfg: Config) -> bool:
    """Does anything of ``cfg`` load weights into the backbone?"""
    if cfg.get('load_from') or cfg.get('resume'):
        return True
    for node in (cfg.model, cfg.model.get('backbone') or {}):
        if node.get('pretrained'):
            return True
        init = node.get('init_cfg') or ()
        for item in [init] if isinstance(init, dict) else init:
            if str(item.get('type')).endswith('Pretrained') and item.get('checkpoint'):
                return True
    return False


def random_and_fixed(cfg: Config, model: nn.Module) -> str | None:
    """A warning if random weights or initial statistics would never be trained; else None.

    ``frozen_stages``, ``norm_eval`` and ``gate_norm_eval`` are meant for pretrained backbones.

    Args:
        cfg: with ``load_from`` and ``resume`` as the run will have them.
        model: its model.
    """
    backbone = getattr(model, 'backbone', None)
    if backbone is None or _has_start(cfg):
        return None
    found, remedy = [], []
    if any(not p.requires_grad for p in backbone.parameters()):
        stages = getattr(backbone, 'frozen_stages', None)
        if isinstance(stages, int):
            found.append(f'frozen_stages={stages} never trains a part of them')
            none = 0 if isinstance(backbone, Backbone) else -1
            remedy.append(f'model.backbone.frozen_stages={none}')
    for name, what in (('norm_eval', 'the batch norms'), ('gate_norm_eval', "the gates' norms")):
        if getattr(backbone, name, False) is True:
            found.append(f'{name}=True keeps the initial statistics (0 and 1) of {what}')
            remedy.append(f'model.backbone.{name}=False')
    if not found:
        return None
    return (
        f'{type(backbone).__name__} starts from random weights, but {" and ".join(found)}. Start '
        'from weights, --cfg-options pretrained=FILE (or load_from=FILE), or train all: '
        f'--cfg-options {" ".join(remedy)}'
    )
