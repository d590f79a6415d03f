"""Model names for ``selnext-mm train --data``: ``BACKBONE`` or ``DETECTOR/BACKBONE``."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

from selnext_mm.checkpoints.hub import CHECKPOINTS
from selnext_mm.config.build import quiet
from selnext_mm.config_files import config_root
from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean

SIZES = {'t': 'tiny', 's': 'small', 'b': 'base', 'l': 'large'}
SIZES |= {name: name for name in ('yocto', 'atto', 'femto', 'pico', 'nano')}
PATNETS = ('t0', 't1', 't2', 's', 'm', 'l')
DEPTHS = (18, 34, 50, 101)
# Backbones for which the heads of COCO's recipes would be several times their size.
SMALL = ('yocto', 'atto', 'femto', 'pico', 't0', 't1', 'resnet18')
# detector -> (base in configs/_base_/models, whether it predicts masks)
DETECTORS = {
    'faster_rcnn': ('faster_rcnn_selnext_fpn', False),
    'mask_rcnn': ('mask_rcnn_selnext_fpn', True),
    'cascade_rcnn': ('cascade_rcnn_selnext_fpn', False),
    'cascade_mask_rcnn': ('cascade_mask_rcnn_selnext_fpn', True),
    'retinanet': ('retinanet_selnext_fpn', False),
}
# (whether there are three stages, whether masks are learned) -> detector
RCNNS = {
    (False, False): 'faster_rcnn',
    (False, True): 'mask_rcnn',
    (True, False): 'cascade_rcnn',
    (True, True): 'cascade_mask_rcnn',
}
# Widths of COCO's necks and heads -> widths for small models, and for the smallest, in which a
# head of width 256 would have half of all weights.
SLIM = {256: 64, 1024: 256}
SMALLEST = ('yocto',)
SLIMMEST = {256: 64, 1024: 128}
FULL_SIZE = 640  # image size in pixels that COCO's anchors fit
FINEST_SCALE = 56  # mmdet's: regions of twice this size use the second map
WIDTHS = ('in_channels', 'out_channels', 'feat_channels', 'conv_out_channels', 'fc_out_channels')


def _backbones() -> dict[str, dict]:
    found: dict[str, dict] = {}
    convnext: dict[str, Any] = dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6))
    for size, arch in SIZES.items():
        found[f'selnext_{size}'] = dict(type='SELNeXt', arch=arch)
        found[f'convnext_{size}'] = dict(type='SELNeXt', arch=arch, **convnext)
    for arch in PATNETS:
        found[f'patnet_{arch}'] = dict(type='PATNet', arch=arch)
        found[f'fasternet_{arch}'] = dict(type='FasterNet', arch=arch)
    for depth in DEPTHS:
        resnet: dict[str, Any] = dict(type='NAResNet', depth=depth, norm_eval=False)
        found[f'na_resnet{depth}'] = resnet
        found[f'resnet{depth}'] = dict(resnet, attention_cfg=None)
    gates: dict[str, dict] = dict(
        seln=dict(type='SELN'), se=dict(type='SqueezeExcitation', gate='hard-sigmoid')
    )  # fmt: skip
    for gate, cfg in gates.items():
        cfg |= dict(reduction=4, divisor=8)
        found[f'mobilenet_v3_l_{gate}'] = dict(
            type='AttentionMobileNetV3', arch='large', attention_cfg=cfg
        )
    return found


BACKBONES = _backbones()


@dataclass(frozen=True)
class ModelName:
    """A parsed model name; ``detector`` is None for a classifier."""

    detector: str | None
    backbone: str

    def __str__(self) -> str:
        return f'{self.detector or "classifier"}/{self.backbone}'

    @property
    def slim(self) -> bool:
        """Whether neck and heads are narrow."""
        return self.backbone.endswith(SMALL)

    @property
    def widths(self) -> dict[int, int]:
        """Widths of COCO's necks and heads -> those of this model; {} if it keeps them."""
        if not self.slim:
            return {}
        return SLIMMEST if self.backbone.endswith(SMALLEST) else SLIM


def detector_of(keys: Iterable[str]) -> str | None:
    """The entry of :data:`DETECTORS` that weights with these names belong to; None if none does."""
    keys = set(keys)
    if any(key.startswith('bbox_head.retina_cls.') for key in keys):
        return 'retinanet'
    if not any(key.startswith('roi_head.bbox_head.') for key in keys):
        return None
    cascade = any(key.startswith('roi_head.bbox_head.0.') for key in keys)
    masks = any(key.startswith('roi_head.mask_head.') for key in keys)
    return RCNNS[cascade, masks]


def default_detector(backbone: str, task: str, started: str | None = None) -> str | None:
    """The detector for labels of a task where none was named.

    With weights of a detector ``started``, it is of the same kind, so that they fit.
    """
    if task == 'classification':
        return None
    masks = task == 'masks'
    if started == 'retinanet' and not masks:
        return started
    if started in RCNNS.values():
        return RCNNS[started.startswith('cascade'), masks]
    return RCNNS[not masks and ModelName(None, backbone).slim, masks]


def refuse_a_checkpoint(name: str) -> None:
    """Raise :class:`UserError` for a file of weights in place of a model."""
    if (path := Path(name)).suffix in CHECKPOINTS or path.is_file():
        raise UserError(
            f'{name} is a file in the place of MODEL; to start from its weights: --weights {name}. '
            f'--resume takes no file: name the folder of the run, --resume --out {path.parent}'
        )


def parse_model(name: str, task: str, started: str | None = None, no_masks: str = '') -> ModelName:
    """The model that ``name`` refers to, for labels of a task.

    Args:
        name: ``BACKBONE`` or ``DETECTOR/BACKBONE``.
        task: ``classification``, ``boxes`` or ``masks``; if the name has no detector, this
        selects a classifier, Faster R-CNN (for a small backbone Cascade R-CNN) or Mask R-CNN.
        started: the detector whose weights are loaded, see :func:`default_detector`.
        no_masks: why only the boxes are used of labels that have masks.

    Raises:
        UserError: for an unknown name, or a detector that does not fit the labels.
    """
    refuse_a_checkpoint(name)
    detector, slash, backbone = name.rpartition('/')
    if backbone not in BACKBONES:
        near = did_you_mean(backbone, BACKBONES)
        raise UserError(
            f'no model {name!r}{near or "; choose from " + ", ".join(BACKBONES)}; a detector may '
            f'stand in front, as in mask_rcnn/{backbone if near else "selnext_t"}'
        )
    if not slash:
        return ModelName(default_detector(backbone, task, started), backbone)
    if detector not in DETECTORS:
        near = did_you_mean(detector, DETECTORS)
        raise UserError(
            f'no detector {detector!r} (in {name}){near or "; choose from " + ", ".join(DETECTORS)}'
        )
    if task == 'classification':
        raise UserError(
            f'{name} is a detector, but the labels are class folders; name the backbone alone '
            f'({backbone}), which makes a classifier'
        )
    if DETECTORS[detector][1] and task == 'boxes':
        other = f'{detector.replace("_mask", "").replace("mask_rcnn", "faster_rcnn")}/{backbone}'
        if no_masks:
            raise UserError(
                f'{name} learns masks, but only the boxes of the labels are used: {no_masks}. For '
                f'boxes use {other}'
            )
        raise UserError(
            f'{name} learns masks, but the labels are boxes only; use {other}, or label masks'
        )
    return ModelName(detector, backbone)


def has_masks(name: ModelName) -> bool:
    return name.detector is not None and DETECTORS[name.detector][1]


def output_widths(backbone: dict, scope: str) -> list[int]:
    """Channels of each output of a backbone, found by running it on a small black image."""
    with quiet(), torch.no_grad(), DefaultScope.overwrite_default_scope(scope):
        outputs = MODELS.build(backbone).eval()(torch.zeros(1, 3, 64, 64))
    return [out.shape[1] for out in outputs]


def backbone_config(
    name: ModelName, drop_path_rate: float, start: str | None, freeze: int = 0
) -> dict:
    """The backbone's dict.

    Args:
        name: the model.
        drop_path_rate: stochastic depth; the ResNets have none.
        start: file or address of weights, None for random ones.
        freeze: number of first stages that are not trained, including the stem; 0 trains all.
    """
    cfg = dict(BACKBONES[name.backbone])
    kind = cfg['type']
    if kind == 'NAResNet':
        cfg['frozen_stages'] = freeze or -1  # mmdet's 0 freezes the stem
        cfg['init_cfg'] = None
    else:
        cfg['drop_path_rate'] = drop_path_rate
        if freeze:
            cfg['frozen_stages'] = freeze
    if start:
        cfg['init_cfg'] = dict(type='Pretrained', checkpoint=start, prefix='backbone.')
    if name.detector is None:
        if kind == 'NAResNet':
            cfg['out_indices'] = (3,)
        return cfg
    cfg['out_indices'] = (1, 2, 3) if name.detector == 'retinanet' else (0, 1, 2, 3)
    if kind == 'SELNeXt':
        cfg |= dict(layer_scale_init_value=1.0, gap_before_final_norm=False)
    elif kind == 'PATNet' and start:
        cfg['gate_norm_eval'] = True
    elif kind == 'AttentionMobileNetV3':
        cfg['norm_cfg'] = dict(type='SyncBN')
    return cfg


def set_classes(node, count: int) -> int:
    """Set ``num_classes`` of every head to ``count``, in place; return the number of heads."""
    found = 0
    if isinstance(node, dict):
        if 'num_classes' in node:
            node['num_classes'] = count
            found = 1
        return found + sum(set_classes(v, count) for v in node.values())
    if isinstance(node, list | tuple):
        return sum(set_classes(v, count) for v in node)
    return 0


def _narrow(node, widths: dict[int, int]) -> None:
    """Replace the widths of necks and heads as :data:`SLIM` says, in place."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in WIDTHS and isinstance(value, int):
                node[key] = widths.get(value, value)
            else:
                _narrow(value, widths)
    elif isinstance(node, list | tuple):
        for item in node:
            _narrow(item, widths)


def _fit_to_size(model: ConfigDict, size: int) -> None:
    """Fit anchors and the region sizes of each map to images of ``size`` pixels, in place.

    Both are meant for images of at least 640 pixels. In smaller images the objects are smaller as
    well, so both are reduced by powers of two: each map then handles the same parts of an image.
    """
    factor = 2.0 ** round(math.log2(size / FULL_SIZE))
    if factor >= 1:
        return
    for head in ('rpn_head', 'bbox_head'):
        anchors = model.get(head, {}).get('anchor_generator', {})
        if 'scales' in anchors:
            anchors.scales = [scale * factor for scale in anchors.scales]
        elif 'octave_base_scale' in anchors:
            anchors.octave_base_scale *= factor
    for role in ('bbox', 'mask'):
        if extractor := model.get('roi_head', {}).get(f'{role}_roi_extractor'):
            extractor.finest_scale = FINEST_SCALE * factor


def detector_model(name: ModelName, backbone: dict, classes: int, size: int) -> ConfigDict:
    """The model of a detector: mmdet's heads as in ``configs/``, for ``classes`` classes.

    ``size`` is the image size, see :class:`~selnext_mm.recipes.options.Options`.
    """
    base = config_root() / '_base_' / 'models' / f'{DETECTORS[name.detector][0]}.py'
    model = Config.fromfile(base).model
    widths = output_widths(dict(backbone, init_cfg=None), 'mmdet')
    model.pop('backbone')
    neck = model.pop('neck')
    if name.slim:
        _narrow(model, name.widths)
        neck.out_channels = name.widths[neck.out_channels]
        if 'rpn_head' in model:
            model.train_cfg.rpn_proposal.update(nms_pre=500, max_per_img=200)
            model.test_cfg.rpn.update(nms_pre=500, max_per_img=200)
            rcnn = model.train_cfg.rcnn
            for stage in rcnn if isinstance(rcnn, list) else [rcnn]:
                stage.sampler.num = 128
            # RoIAlign with 2 x 2 samples per bin: an adaptive number is slower on a CPU.
            for role in ('bbox', 'mask'):
                if extractor := model.roi_head.get(f'{role}_roi_extractor'):
                    extractor.roi_layer.sampling_ratio = 2
    neck.in_channels = widths
    _fit_to_size(model, size)
    set_classes(model, classes)
    head = dict(type=model.pop('type'), data_preprocessor=model.pop('data_preprocessor'))
    return ConfigDict(**head, backbone=backbone, neck=neck, **model)


def classifier_model(backbone: dict, classes: int) -> ConfigDict:
    """A classifier: the mean over the last map, one linear layer, label smoothing 0.1."""
    with quiet(), torch.no_grad(), DefaultScope.overwrite_default_scope('mmpretrain'):
        out = MODELS.build(dict(backbone, init_cfg=None)).eval()(torch.zeros(1, 3, 64, 64))[-1]
    return ConfigDict(
        type='ImageClassifier',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling') if out.ndim == 4 else None,
        head=dict(
            type='LinearClsHead',
            num_classes=classes,
            in_channels=out.shape[1],
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
            topk=(1,),
        ),
    )
