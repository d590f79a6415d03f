"""``tools/test.py --slice``: a detector runs on slices of every test image and on the whole."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

from selnext_mm.config.walk import tested_dataset
from selnext_mm.engine.detections import detections
from selnext_mm.errors import UserError
from selnext_mm.slicing import Slicing, find_in_slices

META = ('img_id', 'img_path', 'ori_shape', 'img_shape')


def check_together(slicing: Slicing, out: Any, show_dir: Any, tta: bool) -> None:
    """Raise :class:`UserError` for options that a test in slices does not support."""
    if tta:
        raise UserError(f'--slice {slicing.size} and --tta: choose one of them')
    if show_dir:
        raise UserError(
            f'--slice {slicing.size} with --show-dir: the images are written by "selnext-mm '
            f'predict CONFIG CHECKPOINT IMAGES --slice {slicing.size} --out DIR"'
        )
    if out and Path(out).suffix == '.pkl':
        raise UserError(f'--slice {slicing.size} with --out {out}: name FILE.json')


def _kind(step: dict) -> str:
    return str(step.get('type')).split('.')[-1]


def use_slices(cfg: Config, slicing: Slicing) -> None:
    """Wrap ``cfg.model`` in a :class:`SlicedDetector`.

    The test set returns whole images as they are read; the steps of its pipeline between reading
    and packing are applied to every slice.

    Raises:
        UserError: if the config is not a detector's, or has another kind of pipeline.
    """
    dataset: Any = tested_dataset(cfg)
    steps = copy.deepcopy(list(dataset.get('pipeline') or []))
    if cfg.get('default_scope') != 'mmdet' or not steps or _kind(steps[-1]) != 'PackDetInputs':
        raise UserError(
            f'--slice {slicing.size}: {cfg.filename} is no detector of mmdet whose test pipeline '
            'ends with PackDetInputs'
        )
    first = [s for s in steps[1:] if _kind(s) == 'LoadAnnotations']
    pack = steps[-1]
    dataset['pipeline'] = [steps[0], *first, dict(type='PackDetInputs', meta_keys=META)]
    cfg.model = ConfigDict(
        type='SlicedDetector',
        module=cfg.model,
        steps=[s for s in steps[1:-1] if s not in first] + [pack],
        size=slicing.size,
        overlap=slicing.overlap,
        batch=slicing.batch,
    )


@MODELS.register_module()
class SlicedDetector(BaseTTAModel):
    """Runs ``module`` on slices of every image and on the whole; each object is reported once.

    ``pred_instances.masks`` is a list of compressed RLEs: bitmap masks of large images would fill
    the memory.

    Args:
        module: the detector.
        steps: its pipeline for a slice, from an image that was read to packed inputs.
        size, overlap, batch: of :class:`selnext_mm.slicing.Slicing`.
    """

    def __init__(
        self, module: dict, steps: Sequence[dict], size: int, overlap: float, batch: int
    ) -> None:
        super().__init__(module)
        self.prepare = Compose(steps)
        self.slicing = Slicing(size, overlap, batch)

    def merge_preds(self, data_samples_list: Any) -> Any:
        """Not called: slices are merged by :func:`selnext_mm.slicing.find_in_slices`."""
        return data_samples_list

    @torch.no_grad()
    def test_step(self, data: dict) -> list:
        """One data sample per image of ``data``, which holds (3, H, W) uint8 images as read."""
        result = []
        for inputs, sample in zip(data['inputs'], data['data_samples'], strict=True):
            pixels = inputs.permute(1, 2, 0).cpu().numpy()
            found = find_in_slices(pixels, self._find_many, self.slicing)
            sample = sample.clone()
            boxes = torch.tensor([item['bbox'] for item in found], dtype=torch.float32)
            boxes = boxes.reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            sample.pred_instances = InstanceData(
                bboxes=boxes,
                scores=torch.tensor([item['score'] for item in found], dtype=torch.float32),
                labels=torch.tensor([item['label'] for item in found], dtype=torch.int64),
            )
            if self.module.with_mask:
                sample.pred_instances.masks = [item['segmentation'] for item in found]
            result.append(sample)
        return result

    def _find_many(self, pictures: Sequence[np.ndarray]) -> list[list[dict]]:
        packed = []
        for pixels in pictures:
            size = pixels.shape[:2]
            data = dict(img=np.ascontiguousarray(pixels), img_path='', img_id=0)
            packed.append(self.prepare(data | dict(img_shape=size, ori_shape=size)))
        data = {k: [p[k] for p in packed] for k in ('inputs', 'data_samples')}
        return [detections(sample) for sample in self.module.test_step(data)]
