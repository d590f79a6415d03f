"""Options that ``train CONFIG`` shares with ``train --data``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from selnext_mm.config.load import apply_pretrained
from selnext_mm.config.walk import (
    LOADERS,
    iter_evaluators,
    iter_hooks,
    iter_schedulers,
    loader_parts,
)
from selnext_mm.errors import UserError
from selnext_mm.recipes.resolve import spare_gates, start_of
from selnext_mm.recipes.schedule import LEAST_GAIN
from selnext_mm.text import counted

# Arguments of schedulers and hooks that are counted in epochs.
EPOCH_KEYS: tuple[str, ...] = ('begin', 'end', 'T_max', 'milestones')
EPOCH_KEYS += ('first_epoch', 'begin_epoch', 'switch_epoch', 'num_last_epochs', 'stop_epoch')
# Arguments of transforms that are in pixels.
PIXEL_KEYS = ('scale', 'scales', 'img_scale', 'crop_size', 'size', 'border')
SIDE = 32  # pixels; if batches are resized, a classifier's sides are multiples of this


@dataclass(frozen=True)
class ConfigOptions:
    """Training settings that a user may change in a config; None leaves the config's value.

    Attributes:
        epochs: passes over the training images; all settings in epochs are scaled to match.
        batch_size: images per update and process.
        lr: the highest learning rate.
        image_size: longer side in pixels (detectors), side of the square (classifiers).
        workers: processes that load images, for each loader.
        seed: of weights, order and augmentation.
        patience: stop after this many evaluations without improvement; 0 never stops early.
        weights: file or address to start from: of a backbone, or of a whole model.
    """

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    image_size: int | None = None
    workers: int | None = None
    seed: int | None = None
    patience: int | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        """Raise :class:`UserError` for a value that no run can have."""
        limits = dict(epochs=1, batch_size=1, image_size=SIDE, workers=0, seed=0, patience=0)
        for name, least in limits.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f'--{name.replace("_", "-")} {value}; expected {least} or more')
        if self.lr is not None and not 0 < self.lr < 1:
            raise UserError(f'--lr {self.lr:g}; expected more than 0 and less than 1, as 1e-3')


def set_options(cfg: Config, options: ConfigOptions) -> list[str]:
    """Apply ``options`` to ``cfg``, in place; return one line for each that changed something.

    Raises:
        UserError: for an option that this config does not support.
    """
    lines = []
    if options.epochs is not None:
        lines.append(_set_epochs(cfg, options.epochs))
    if options.batch_size is not None:
        before = _loader(cfg, '--batch-size').get('batch_size')
        cfg.train_dataloader.batch_size = options.batch_size
        lines.append(f'batch of {counted(options.batch_size, "image")} per process (was {before})')
    if options.lr is not None:
        lines.append(_set_lr(cfg, options.lr))
    elif options.batch_size is not None:
        lines.append(_scale_lr(cfg))
    if options.image_size is not None:
        lines.append(_set_image_size(cfg, options.image_size))
    if options.workers is not None:
        for loader in filter(None, map(cfg.get, LOADERS)):
            loader.num_workers = options.workers
            loader.persistent_workers = bool(options.workers and loader.get('persistent_workers'))
        lines.append(f'images are loaded by {counted(options.workers, "process")} per loader')
    if options.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=options.seed)
        lines.append(f'seed {options.seed}')
    if options.patience is not None:
        lines.append(_set_patience(cfg, options.patience))
    if options.weights is not None:
        lines.append(_set_weights(cfg, options.weights))
    return lines


def _loader(cfg: Config, option: str) -> Any:
    if not cfg.get('train_dataloader'):
        raise UserError(f'{option}: {cfg.filename} has no train_dataloader')
    return cfg.train_dataloader


def _set_epochs(cfg: Config, epochs: int) -> str:
    loop: dict[str, Any] = cfg.get('train_cfg') or {}
    before = loop.get('max_epochs')
    if not before:
        raise UserError(
            f'--epochs {epochs}: {cfg.filename} does not count in epochs; set the iterations by '
            '--cfg-options train_cfg.max_iters=N, and the ends of its schedulers'
        )

    def stretched(value: int) -> int:
        # The last epoch stays the last; earlier milestones stay at 1 or later.
        return min(epochs, max(1, round(value * epochs / before))) if value else value

    loop['max_epochs'] = epochs
    if loop.get('val_interval'):
        loop['val_interval'] = min(loop['val_interval'], epochs)
    if loop.get('dynamic_intervals'):
        loop['dynamic_intervals'] = [(stretched(e), n) for e, n in loop['dynamic_intervals']]
    for _, scheduler in iter_schedulers(cfg):
        if scheduler.get('by_epoch', True):
            _stretch(scheduler, stretched)
    for hook in iter_hooks(cfg):
        _stretch(hook, stretched)
        if hook.get('type') == 'BatchResizeHook':
            hook['schedule'] = [(stretched(first), sides) for first, sides in hook['schedule']]
    saving: dict[str, Any] = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if saving.get('interval', -1) > epochs and saving.get('by_epoch', True):
        saving['interval'] = epochs
    length = counted(epochs, 'epoch')
    return f'{length} (was {before}); everything counted in epochs is scaled to match'


def _stretch(node: Any, stretched: Any) -> None:
    for key in EPOCH_KEYS:
        value = node.get(key)
        if isinstance(value, list | tuple):
            # In a short run two milestones may fall into one epoch; one is kept.
            node[key] = sorted({stretched(item) for item in value})
        elif isinstance(value, int):
            node[key] = stretched(value)
    begin, end = node.get('begin') or 0, node.get('end')
    if str(node.get('type')).endswith('LinearLR') and isinstance(end, int) and end - begin < 2:
        # mmengine's LinearLR takes end - begin - 1 steps: over one epoch the lr would never rise.
        node['convert_to_iter_based'] = True


def _optimizer(cfg: Config, option: str) -> Any:
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if 'lr' not in optimizer:
        raise UserError(f'{option}: {cfg.filename} has no optim_wrapper.optimizer.lr')
    return optimizer


def _set_lr(cfg: Config, lr: float) -> str:
    optimizer = _optimizer(cfg, f'--lr {lr:g}')
    before, optimizer.lr = optimizer.lr, lr
    if cfg.get('auto_scale_lr'):
        cfg.auto_scale_lr.enable = False
    return f'lr {lr:g} (was {before:g})'


def _scale_lr(cfg: Config) -> str:
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not base:
        return (
            'the lr is unchanged: the config does not say for which batch size it was chosen (--lr)'
        )
    cfg.auto_scale_lr.enable = True
    return f'the lr scales with the batch size, relative to {base} (--lr)'


def _set_patience(cfg: Config, patience: int) -> str:
    hooks = [h for h in cfg.get('custom_hooks') or [] if 'EarlyStoppingHook' not in str(h['type'])]
    cfg.custom_hooks = hooks
    if not patience:
        return 'no early stopping'
    metric = _metric(cfg)
    hooks.append(
        dict(
            type='ResumableEarlyStoppingHook',
            monitor=metric,
            rule='greater',
            min_delta=LEAST_GAIN,
            patience=patience,
        )
    )
    cfg.custom_hooks = hooks
    return f'early stopping after {counted(patience, "evaluation")} without a better {metric}'


def _metric(cfg: Config) -> str:
    saved = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    if isinstance(saved, str) and saved != 'auto':
        return saved
    for name, evaluator in iter_evaluators(cfg):
        kind, metric = str(evaluator.get('type')), evaluator.get('metric', 'bbox')
        if name != 'val_evaluator' or evaluator.get('prefix'):
            continue
        if kind.endswith('CocoMetric'):
            return 'coco/segm_mAP' if 'segm' in metric else 'coco/bbox_mAP'
        if kind.endswith('Accuracy'):
            return 'accuracy/top1'
        if kind.endswith('IoUMetric'):
            return 'mIoU'
    raise UserError(
        f'--patience: no metric of {cfg.filename} is known to be higher-is-better; name '
        'one: --cfg-options default_hooks.checkpoint.save_best=METRIC'
    )


def _set_weights(cfg: Config, weights: str) -> str:
    start = start_of(weights)
    if start.whole:
        cfg.load_from = start.whole
        return f'starts from all weights of {start.whole} that fit'
    cfg.pretrained = start.backbone
    apply_pretrained(cfg)
    spared = spare_gates(cfg.model.backbone, start)
    return f'starts from the backbone weights {start.backbone}{spared}'


def _transforms(cfg: Config, loader: str) -> list[Any]:
    return [node for _, node, kind in loader_parts(cfg, loader) if kind is TRANSFORMS]


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_scaled(item, factor) for item in value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return round(value * factor) if whole else value


def _longest(value: Any) -> int:
    if isinstance(value, list | tuple):
        return max(map(_longest, value), default=0)
    return value if isinstance(value, int) else 0


def _set_image_size(cfg: Config, size: int) -> str:
    if cfg.get('default_scope') == 'mmseg':
        raise UserError(
            f'--image-size {size}: a segmentor is trained on crops, whose size {cfg.filename} has '
            'in its pipelines and in model.data_preprocessor.size; change it there'
        )
    before = 0
    for transform in _transforms(cfg, 'val_dataloader') or _transforms(cfg, 'test_dataloader'):
        if str(transform.get('type')).endswith(('Resize', 'CenterCrop', 'ResizeEdge')):
            # The last one determines the size that the model sees.
            before = _longest(transform.get('crop_size') or transform.get('scale')) or before
    if not before:
        raise UserError(
            f'--image-size {size}: no Resize or CenterCrop in the validation pipeline of '
            f'{cfg.filename} says how large its images are; change its pipelines'
        )
    factor = size / before
    # Loaders may share a pipeline, whose sizes must change only once.
    transforms = {id(t): t for loader in LOADERS for t in _transforms(cfg, loader)}
    for transform in transforms.values():
        for key in PIXEL_KEYS:
            if key in transform:
                transform[key] = _scaled(transform[key], factor)
    for hook in iter_hooks(cfg):
        if hook.get('type') == 'BatchResizeHook':
            hook['schedule'] = [(first, _sides(sides, factor)) for first, sides in hook['schedule']]
    return f'images of {size} pixels (was {before}); all sizes of the pipelines follow'


def _sides(sides: Sequence[int], factor: float) -> tuple[int, ...]:
    return tuple(sorted({SIDE * max(1, round(side * factor / SIDE)) for side in sides}))
