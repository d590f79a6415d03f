"""Warnings before a training."""

from mmengine.config import Config
from torch import nn

from selnext_mm.models.backbones.base import Backbone
from selnext_mm.text import counted


def lr_for_batch(cfg: Config, processes: int) -> str | None:
    """A warning if the lr is meant for another batch size than that of this run; else None.

    The batch size is that of one update: images per process x processes x accumulated iterations.
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
    factors = f'{counted(images, "image")} x {counted(processes, "process")}'
    if accumulated > 1:
        factors += f' x {accumulated} accumulated'
    # mmengine's own scaling ignores accumulation.
    option = '' if accumulated > 1 else ' (--auto-scale-lr does that)'
    return (
        f'lr {lr:g} is meant for a batch of {base}; this run has {batch} ({factors}). In '
        f'proportion it would be optim_wrapper.optimizer.lr={lr * batch / base:.4g}{option}'
    )


def _has_start(cfg: Config) -> bool:
    """Whether any part of ``cfg`` loads weights into the backbone."""
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
        cfg: the config, with ``load_from`` and ``resume`` as in the run.
        model: the model of the config.
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
