"""Make a config run on the machine at hand."""

import copy

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from selnext_mm.config.walk import LOADERS

# Neither mmengine's AmpOptimWrapper nor torch's SyncBN runs on these.
WITHOUT_AMP = ('cpu', 'mps')


def has_amp(device: str) -> bool:
    """Whether ``AmpOptimWrapper`` and ``SyncBN`` run on devices of this type."""
    return device not in WITHOUT_AMP


def _replace_types(node, old: str, new: str) -> int:
    """Replace ``type=old`` in nested dicts and lists in place; return how many."""
    count = 0
    if isinstance(node, dict):
        if node.get('type') == old:
            node['type'] = new
            count += 1
        count += sum(_replace_types(v, old, new) for v in node.values())
    elif isinstance(node, list | tuple):
        count += sum(_replace_types(v, old, new) for v in node)
    return count


def adapt_to_device(cfg: Config, device: str | None = None) -> list[str]:
    """Replace, in place, what a CPU or MPS does not support; return one line per kind of change.

    - ``AmpOptimWrapper`` becomes ``AutoAmpOptimWrapper`` (which is float32 there);
    - ``SyncBN`` becomes ``BN``;
    - the ``nccl`` backend becomes ``gloo``;
    - persistent workers are switched off if there are no workers (any device).

    Args:
        cfg: a full runner config.
        device: device type; None lets mmengine choose.
    """
    lines = []
    for name in LOADERS:
        loader = cfg.get(name)
        if loader and not loader.get('num_workers') and loader.get('persistent_workers'):
            loader['persistent_workers'] = False
    device = device or get_device()
    if has_amp(device):
        return lines
    why = 'no accelerator' if device == 'cpu' else device
    if cfg.get('optim_wrapper') and _replace_types(
        cfg.optim_wrapper, 'AmpOptimWrapper', 'AutoAmpOptimWrapper'
    ):
        lines.append(f'{why}: AmpOptimWrapper becomes AutoAmpOptimWrapper')
    if cfg.get('model'):
        # If heads share sub-dicts, a change would be counted twice.
        cfg.model = ConfigDict(copy.deepcopy(cfg.model.to_dict()))
        count = _replace_types(cfg.model, 'SyncBN', 'BN')
        if count:
            lines.append(f'{why}: SyncBN becomes BN in {count} places')
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    distributed = cfg.get('launcher', 'none') != 'none'
    if dist_cfg.get('backend') == 'nccl':
        dist_cfg['backend'] = 'gloo'
        if distributed:
            lines.append(f'{why}: backend nccl becomes gloo')
    if distributed:
        # By default mmengine passes a GPU's index to the wrapper.
        wrapper = cfg.get('model_wrapper_cfg') or dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    return lines
