"""``--tta``: the model runs on several views of every test image, and the results are merged."""

import copy
import importlib
from typing import Any

from mmengine.config import Config, ConfigDict

from selnext_mm.config.walk import tested_dataset
from selnext_mm.engine.preflight.fit import refuse_merged_masks
from selnext_mm.errors import UserError

DETECTION = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')


def _default_model(cfg: Config) -> dict:
    scope = cfg.get('default_scope')
    if scope == 'mmpretrain':
        return dict(type='mmpretrain.AverageClsScoreTTA')
    if scope == 'mmdet':
        importlib.import_module('selnext_mm.evaluation.mask_tta')  # registers it
        return dict(type='MaskTTAModel', tta_cfg=copy.deepcopy(DETECTION))
    raise UserError(
        f'--tta: {cfg.filename} is neither of mmdet nor of mmpretrain (default_scope={scope}); '
        'give it a tta_model and a tta_pipeline'
    )


def _default_pipeline(cfg: Config) -> list[dict]:
    """The test pipeline with the image as it is and flipped, before packing."""
    steps = copy.deepcopy(list(tested_dataset(cfg).get('pipeline') or []))
    name = str(steps[-1].get('type')).split('.')[-1] if steps else 'nothing'
    if not (name.startswith('Pack') and name.endswith('Inputs')):
        raise UserError(
            f'--tta: the test pipeline of {cfg.filename} ends with {name}; expected PackDetInputs '
            'or PackInputs. Give the config a tta_pipeline'
        )
    pack = steps.pop()
    if name == 'PackDetInputs':
        pack['meta_keys'] = tuple(dict.fromkeys((*pack.get('meta_keys', ()), *META)))
    views = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[views, [pack]])]


def use_tta(cfg: Config) -> None:
    """Wrap ``cfg.model`` in its ``tta_model``, and use its ``tta_pipeline`` in the test set.

    By default the image is used twice, as it is and flipped. Boxes of both go through one NMS
    (IoU 0.5, 100 at most) and keep their masks; class scores are averaged. Except for the masks,
    these are the defaults of mmdet's and mmpretrain's ``tools/test.py --tta``.

    Raises:
        UserError: if there is no default for the config.
    """
    model = cfg.get('tta_model') or _default_model(cfg)
    pipeline = cfg.get('tta_pipeline') or _default_pipeline(cfg)
    makes_masks = (cfg.model.get('roi_head') or {}).get('mask_head') is not None
    refuse_merged_masks(cfg, model, makes_masks)
    cfg.model = ConfigDict(**model, module=cfg.model)
    dataset: Any = tested_dataset(cfg)
    dataset['pipeline'] = pipeline
