"""Labels + model + options -> a complete config, with a reason for each choice."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.device import get_device

from selnext_mm.checkpoints.fit import state_dict_of
from selnext_mm.checkpoints.pretrained import WITHOUT_ATTENTION
from selnext_mm.config_files import OWN_CONFIG, config_root
from selnext_mm.datasets.formats.records import CLASSIFICATION, DatasetInfo
from selnext_mm.disk import write_text
from selnext_mm.engine.preflight.weights import read_checkpoint
from selnext_mm.errors import UserError
from selnext_mm.recipes import schedule
from selnext_mm.recipes.data import data_config
from selnext_mm.recipes.models import (
    BACKBONES,
    backbone_config,
    classifier_model,
    detector_model,
    detector_of,
    has_masks,
    parse_model,
)
from selnext_mm.recipes.options import Options
from selnext_mm.text import counted

# Defaults with an accelerator and without one: model, batch, sizes of images for a detector and a
# classifier, and how many images these are trained on in all.
DEFAULTS: dict[str, dict[str, Any]] = {
    'cuda': dict(
        model='selnext_t',
        batch=8,
        detector=640,
        images=40_000,
        classifier=224,
        classified=400_000,
    ),
    'cpu': dict(
        model='selnext_atto',
        batch=2,
        detector=512,
        images=2_900,
        classifier=96,
        classified=36_000,
    ),
}
EPOCHS = (12, 300)  # minimum and maximum of the default
CLASSIFIER_BATCHES = 8  # and this many times more per batch
FINE_TUNING_SHARE = 0.5  # of the number of epochs from random weights
WRITTEN_BY = '# Written by: '  # how a config of a run begins; the command follows
HEADS = ('neck.', 'rpn_head.', 'roi_head.', 'bbox_head.', 'head.')


class Start(NamedTuple):
    """What training starts from: weights of a backbone, or of a whole model, or neither.

    ``gates`` is False for a backbone without attention, such as a converted ConvNeXt; ``detector``
    is the kind of the whole model, if it is a known one.
    """

    backbone: str | None = None
    whole: str | None = None
    gates: bool = True
    detector: str | None = None


def start_of(weights: str | None) -> Start:
    """The kind of model that ``weights`` belong to."""
    if weights is None:
        return Start()
    state = state_dict_of(read_checkpoint(weights), weights)
    if any(key.startswith(HEADS) for key in state):
        return Start(whole=weights, detector=detector_of(state))
    return Start(backbone=weights, gates=any('.attention.' in key for key in state))


def spare_gates(backbone: dict, start: Start) -> str:
    """Let a SELNeXt start from weights without gates, in place; return a line to log, or ''."""
    gated = backbone['type'].rpartition('.')[2] == 'SELNeXt' and backbone.get('attention_cfg', True)
    if not start.backbone or start.gates or not gated:
        return ''
    backbone['init_cfg']['min_loaded'] = WITHOUT_ATTENTION
    return '; it has no gates, which start from initial values'


def default_epochs(images: int, seen: int) -> int:
    """The number of epochs, between 12 and 300, in which ``seen`` images are trained on."""
    return min(max(round(seen / images), EPOCHS[0]), EPOCHS[1])


def resolve(
    info: DatasetInfo, model: str | None = None, options: Options | None = None
) -> tuple[Config, list[str]]:
    """The config of a run, and a line for each choice that was made for the user.

    Args:
        info: the labels, from :func:`selnext_mm.datasets.formats.find_dataset`.
        model: ``BACKBONE`` or ``DETECTOR/BACKBONE``; None for the default of the machine.
        options: settings of the user.

    Raises:
        UserError: for an unknown or unsuitable model, or an option out of range.
    """
    options = options or Options()
    options.check()
    device = 'cpu' if get_device() == 'cpu' else 'cuda'
    usual = DEFAULTS[device]
    where = 'no accelerator was found' if device == 'cpu' else 'for an accelerator'
    lines = []
    if model is None:
        model = usual['model']
        lines.append(f'model {model}: the default, {where} (name another: {_some_models()})')
    start = start_of(options.weights)
    name = parse_model(model, info.task, start.detector, info.no_masks)
    classify = info.task == CLASSIFICATION
    masks = has_masks(name)
    kind = 'classifier' if classify else name.detector
    lines.append(f'{kind} with {name.backbone}: the labels are {_task_words(info)}')
    if not classify and name.slim:
        lines.append('neck and heads with 64 channels in place of 256: the backbone is small')

    images = info.splits['train'].images
    batch = options.batch_size
    if batch is None:
        batch = usual['batch'] * (CLASSIFIER_BATCHES if classify else 1)
        batch = max(1, min(batch, images))
        lines.append(f'batch of {counted(batch, "image")}: {where} (--batch-size)')
    processes = int(os.environ.get('WORLD_SIZE') or 1)
    update = batch * processes
    if processes > 1:
        lines.append(f'{processes} processes: {update} images in each update')
    size = options.image_size
    if size is None:
        size = usual['classifier' if classify else 'detector']
        lines.append(f'images of {size} pixels: {where} (--image-size)')
    started = bool(options.weights)
    epochs = options.epochs
    if epochs is None:
        seen = usual['classified' if classify else 'images']
        seen *= FINE_TUNING_SHARE if started else 1
        epochs = default_epochs(images, seen)
        lines.append(
            f'{epochs} epochs: '
            f'{counted(images, "training image is", "training images are")} seen about '
            f'{round(seen, -2):,.0f} '
            'times in all, at least 12 times each (--epochs)'
        )
    lr = options.lr
    if lr is None:
        lr, lr_line = _lr(classify, started, update)
        lines.append(lr_line)
    patience = options.patience
    if patience is None:
        patience = max(10, math.ceil(epochs / 2))
        lines.append(
            f'early stopping after {counted(patience, "epoch")} without a better metric '
            '(--patience)'
        )
    workers = options.workers
    if workers is None:
        workers = min(4, max(1, (os.cpu_count() or 1) // 2))
        lines.append(f'{counted(workers, "process loads", "processes load")} images (--workers)')
    metric = 'accuracy/top1' if classify else 'coco/segm_mAP' if masks else 'coco/bbox_mAP'
    lines.append(f'the best checkpoint is kept by {metric} on the val split')

    if options.mix and masks:
        raise UserError(
            '--mix puts images with boxes together, and the labels are masks; leave it out, or '
            f'train on the boxes alone with faster_rcnn/{name.backbone}'
        )
    drop_path = options.drop_path
    if drop_path is None:
        drop_path = 0.2 if started else 0.0
    backbone = backbone_config(name, drop_path, start.backbone, options.freeze or 0)
    lines.append(_start_line(start) + spare_gates(backbone, start))
    if options.drop_path is not None and 'drop_path_rate' not in backbone:
        raise UserError(f'--drop-path: {name.backbone} has no stochastic depth; leave it out')
    classes = len(info.classes)
    cfg = Config.fromfile(
        config_root() / '_base_' / ('imagenet_runtime.py' if classify else 'coco_runtime.py')
    )
    parts = schedule.schedule_config(
        images,
        update,
        epochs,
        lr,
        metric,
        patience,
        layer_decay=0.9 if started else 1.0,
        weight_decay=options.weight_decay,
        clip_grad=options.clip_grad,
    )
    parts['custom_hooks'] += _mixing_hooks(options, classify, size, epochs)
    if BACKBONES[name.backbone]['type'] == 'NAResNet':  # it has no get_layer_depth
        parts['optim_wrapper'].pop('constructor')
        parts['optim_wrapper']['paramwise_cfg'] = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    if any(hook['type'] == 'EMAHook' for hook in parts['custom_hooks']):
        lines.append('weights are averaged over about 100 iterations for the evaluation: EMA')
    hooks = cfg.pop('default_hooks')
    parts['default_hooks'] = {**hooks.to_dict(), **parts['default_hooks']}
    cfg.merge_from_dict(
        dict(
            model=(
                classifier_model(backbone, classes)
                if classify
                else detector_model(name, backbone, classes, size)
            ),
            **data_config(info, size, batch, workers, masks, options.multi_scale, options.mix),
            **parts,
            custom_imports=dict(imports=['selnext_mm'], allow_failed_imports=False),
            randomness=dict(seed=options.seed),
            load_from=start.whole,
        )
    )
    if classify and options.mix:
        cfg.model.train_cfg = dict(
            augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
        )
    if classify:
        cfg.data_preprocessor = dict(
            num_classes=classes,
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            to_rgb=True,
        )
    return cfg, lines


def _mixing_hooks(options: Options, classify: bool, size: int, epochs: int) -> list[dict]:
    """Hooks of ``multi_scale`` and ``mix``: classifiers are resized by the batch, and a
    detector's last epochs see images as they are."""
    hooks = []
    if options.multi_scale and classify:
        up_to = range(32, size + size // 2 + 1, 32)
        sides = [side for side in up_to if side >= size // 2]
        if len(sides) == 1:
            raise UserError(
                f'--multi-scale has no effect with --image-size {size}: the sides are multiples of '
                '32 from half to one and a half of it; leave it out, or take larger images'
            )
        hooks.append(dict(type='BatchResizeHook', schedule=[(0, sides)], seed=options.seed))
    if options.mix and not classify:
        first = epochs - math.ceil(schedule.UNMIXED * epochs)
        hooks.append(dict(type='UnmixedImagesHook', first_epoch=first))
    return hooks


def _some_models() -> str:
    return 'selnext_t, selnext_s, na_resnet50, patnet_s, cascade_rcnn/selnext_t, ...'


def _task_words(info: DatasetInfo) -> str:
    words = {CLASSIFICATION: 'class folders', 'boxes': 'boxes', 'masks': 'masks'}[info.task]
    return f'{words}, {counted(len(info.classes), "class")}'


def _lr(classify: bool, started: bool, batch: int) -> tuple[float, str]:
    rate = schedule.FINE_TUNING_LR if started else schedule.SCRATCH_LR
    base = schedule.BASE_BATCH
    if classify:
        base = schedule.CLASSIFIER_BATCH
        rate = schedule.FINE_TUNING_LR if started else schedule.CLASSIFIER_LR
    lr = schedule.scaled_lr(rate, batch, base)
    return lr, f'lr {lr:g}: {rate:g} for a batch of {base}, times sqrt({batch} / {base}) (--lr)'


def _start_line(start: Start) -> str:
    if start.whole:
        return f'fine-tuning recipe: starts from all weights of {start.whole} that fit'
    if start.backbone:
        return f'fine-tuning recipe: starts from the backbone weights {start.backbone}'
    return (
        'from-scratch recipe: random weights, as no --weights are given; expect less accuracy '
        'than from pretrained weights, most of all with few images'
    )


def write_config(cfg: Config, lines: list[str], folder: str | os.PathLike, command: str) -> Path:
    """Write ``config.py``, which has no base, for train and test into the run's folder.

    Args:
        cfg: from :func:`resolve`.
        lines: the choices, which become comments.
        folder: the work dir; created if missing.
        command: the command or call that created the config.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cfg.work_dir = str(folder)
    path = folder / OWN_CONFIG
    comments = [f'{WRITTEN_BY}{" ".join(command.split())}']
    comments += [f'# {" ".join(line.split())}' for line in lines]
    write_text(path, '\n'.join(comments) + '\n' + cfg.pretty_text)
    return path
