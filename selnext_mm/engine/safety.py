"""What the train command puts into a config so that nothing is lost."""

from mmengine.config import Config

from selnext_mm.engine.config import iter_hooks

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
