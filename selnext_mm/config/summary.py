"""A config in a few short lines: for the banner of a run and for its report."""

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from selnext_mm.config.walk import inner_dataset, loader_parts
from selnext_mm.text import counted


def short_number(value: float) -> str:
    """5334536 -> '5.33 M'; 812 -> '812'."""
    for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= size:
            return f'{value / size:.2f} {unit}'
    return f'{value:g}'


def _kind(node) -> str:
    """Class name of a ``dict(type=...)``, without its scope."""
    kind = node.get('type', '?') if isinstance(node, Mapping) else '?'
    return str(getattr(kind, '__name__', kind)).split('.')[-1]


def model_line(cfg: Config) -> str:
    """'MaskRCNN, backbone SELNeXt (arch tiny), neck FPN'."""
    model = cfg.get('model') or {}
    parts = [_kind(model)]
    for role in ('backbone', 'neck', 'head'):
        part = model.get(role)
        if isinstance(part, Mapping):
            size = next((f' ({k} {part[k]})' for k in ('arch', 'depth') if k in part), '')
            parts.append(f'{role} {_kind(part)}{size}')
    return ', '.join(parts)


def data_line(cfg: Config) -> str:
    """'CocoDataset in data/coco, 80 classes'; without the classes if the config has none."""
    dataset = inner_dataset(cfg.get('train_dataloader') or cfg.get('test_dataloader'))
    line = _kind(dataset)
    if dataset.get('data_root'):
        line += f' in {dataset["data_root"]}'
    classes = (dataset.get('metainfo') or {}).get('classes')
    if isinstance(classes, list | tuple):
        line += f', {counted(len(classes), "class")}'
    return line


def size_text(cfg: Config) -> str:
    """'1333 x 800 pixels', the size after resize or crop in the validation; '' if unknown."""
    text = ''
    for _, node, kind in loader_parts(cfg, 'val_dataloader'):
        if kind is not TRANSFORMS or not _kind(node).endswith(('Resize', 'CenterCrop')):
            continue
        size = node.get('crop_size') or node.get('scale')
        sides = [size, size] if isinstance(size, int) else size
        if isinstance(sides, list | tuple) and all(isinstance(side, int) for side in sides):
            text = f'{" x ".join(map(str, sides))} pixels'  # the last step decides
    return text


def _step(scheduler: Mapping) -> str:
    kind, unit = _kind(scheduler), 'epochs' if scheduler.get('by_epoch', True) else 'iterations'
    if scheduler.get('milestones'):
        where = 'at ' + ', '.join(map(str, scheduler['milestones']))
    elif scheduler.get('end') is not None:
        where = f'{scheduler.get("begin", 0)} to {scheduler["end"]}'
    else:
        where = 'throughout'
    return f'{kind} {where} ({unit})'


def schedule_line(cfg: Config, lr_factor: float = 1.0) -> str:
    """'36 epochs, AdamW lr 0.0002, weight decay 0.05; LinearLR 0 to 500 (iterations), ...'.

    ``lr_factor`` scales the lr that the config gives.
    """
    train = cfg.get('train_cfg') or {}
    wrapper = cfg.get('optim_wrapper') or {}
    optimizer = wrapper.get('optimizer') or {}
    if train.get('max_iters'):
        length = counted(train['max_iters'], 'iteration')
    else:
        length = counted(train.get('max_epochs', '?'), 'epoch')
    lr = optimizer.get('lr')
    rate = f'{lr * lr_factor:g}' if isinstance(lr, int | float) else '?'
    line = f'{length}, {_kind(optimizer)} lr {rate}' if optimizer else length
    if optimizer.get('weight_decay') is not None:
        line += f', weight decay {optimizer["weight_decay"]:g}'
    decay = (wrapper.get('paramwise_cfg') or {}).get('layer_decay_rate')
    if decay not in (None, 1.0):
        line += f', layer decay {decay:g}'
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list | tuple) else [schedulers]
    steps = ', '.join(_step(s) for s in schedulers)
    return f'{line}; {steps}' if steps else line


def start_line(cfg: Config) -> str:
    """Where the initial weights come from."""
    if cfg.get('resume') and cfg.get('load_from'):
        return f'resumed from {cfg.load_from}'
    if cfg.get('load_from'):
        return f'weights of {cfg.load_from}'
    backbone = (cfg.get('model') or {}).get('backbone')
    init = (backbone or {}).get('init_cfg')
    checkpoint = init.get('checkpoint') if isinstance(init, Mapping) else None
    return f'backbone weights of {checkpoint}' if checkpoint else 'random weights'


def precision(cfg: Config) -> str:
    """'mixed precision' if the optimizer wrapper enables it, else 'float32'.

    ``AutoAmpOptimWrapper`` is float32 on a machine without an accelerator.
    """
    return 'mixed precision' if 'Amp' in _kind(cfg.get('optim_wrapper') or {}) else 'float32'
