"""Boxes in a graph: anchors, decoding, suppression, and lists of a fixed length.

A list is (N, n, 4) boxes x1, y1, x2, y2 with (N, n) scores; :data:`EMPTY` marks an entry without a
box. The arithmetic is MMDetection's, operation by operation, so that NMS keeps the same boxes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selnext_mm.export.detection import operators  # noqa: F401 - registers torch.ops.selnext_mm
from selnext_mm.export.detection.support import expect_type, expect_value, refuse

EMPTY = -1.0
# Limit of the exponent: a box grows 62.5-fold at most (mmdet's delta2bbox).
LARGEST_GROWTH = abs(math.log(16 / 1000))
NMS_KEYS = {'type', 'iou_threshold', 'split_thr', 'class_agnostic'}


class Decoder(nn.Module):
    """mmdet's ``DeltaXYWHBBoxCoder.decode``: deltas applied to boxes, clipped to the image.

    centre' = centre + side * d_xy,  side' = side * exp(d_wh),  d = delta * std + mean.
    """

    def __init__(self, coder, place: str) -> None:
        super().__init__()
        expect_type(coder, 'DeltaXYWHBBoxCoder', place=f'{place}.bbox_coder')
        expect_value(coder.clip_border, True, place=f'{place}.bbox_coder.clip_border')
        expect_value(coder.add_ctr_clamp, False, place=f'{place}.bbox_coder.add_ctr_clamp')
        self.register_buffer('mean', torch.tensor([float(v) for v in coder.means]))
        self.register_buffer('std', torch.tensor([float(v) for v in coder.stds]))

    def forward(self, boxes: Tensor, deltas: Tensor, height: int, width: int) -> Tensor:
        """(..., 4), (..., 4) -> (..., 4), within 0..width and 0..height."""
        deltas = deltas * self.std + self.mean
        centre = (boxes[..., :2] + boxes[..., 2:]) * 0.5
        side = boxes[..., 2:] - boxes[..., :2]
        centre = centre + side * deltas[..., :2]
        half = side * deltas[..., 2:].clamp(-LARGEST_GROWTH, LARGEST_GROWTH).exp() * 0.5
        corners = torch.stack([centre - half, centre + half], -2)
        x, y = corners[..., 0].clamp(0, width), corners[..., 1].clamp(0, height)
        return torch.stack([x, y], -1).flatten(-2)


class Anchors(nn.Module):
    """mmdet's ``AnchorGenerator``: the anchors of one map, row by row."""

    def __init__(self, generator, place: str) -> None:
        super().__init__()
        expect_type(generator, 'AnchorGenerator', place=f'{place}.anchor_generator')
        self.strides = [tuple(map(int, stride)) for stride in generator.strides]
        for i, base in enumerate(generator.base_anchors):
            self.register_buffer(f'base{i}', base.clone())

    def forward(self, level: int, height: int, width: int) -> Tensor:
        """(height * width * A, 4) for a map of ``height`` x ``width`` pixels."""
        base = getattr(self, f'base{level}')
        across, down = self.strides[level]
        x = torch.arange(width, device=base.device, dtype=base.dtype) * across
        y = torch.arange(height, device=base.device, dtype=base.dtype) * down
        y, x = torch.meshgrid(y, x, indexing='ij')
        shifts = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
        return (shifts + base).reshape(-1, 4)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """The entries ``index`` (N, m) of ``values`` (N, n, k) -> (N, m, k)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest values of every row (N, n) and their indices, both (N, count).

    If n is less than ``count``, the rest are :data:`EMPTY` and have the index of the last entry.
    """
    last = scores.shape[1] - 1
    values, index = F.pad(scores, (0, count), value=EMPTY).topk(count)
    return values, index.clamp(max=last)


@dataclass(frozen=True)
class Suppression:
    """NMS of a config (``nms=dict(type='nms', iou_threshold=0.5)``), ``limit`` boxes at most."""

    iou_threshold: float
    limit: int
    class_agnostic: bool = False

    @classmethod
    def of(cls, nms: dict, limit: int, place: str) -> 'Suppression':
        """From ``test_cfg.nms``; refuses other kinds, such as soft-NMS."""
        expect_value(nms.get('type', 'nms'), 'nms', place=f'{place}.nms.type')
        if unknown := set(nms) - NMS_KEYS:
            raise refuse(f'{place}.nms.{min(unknown)}', f'{", ".join(sorted(NMS_KEYS))}')
        return cls(float(nms['iou_threshold']), limit, bool(nms.get('class_agnostic', False)))

    def __call__(self, boxes: Tensor, scores: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """(scores, index) of the boxes that are kept, best first; both (N, limit).

        Boxes of different ``group`` (N, n) do not suppress each other. As in mmcv's ``batched_nms``
        they are moved apart by the largest coordinate, so the rounding and the choice are the same.
        """
        if not self.class_agnostic:
            there = (scores >= 0)[..., None]
            largest = torch.where(there, boxes, 0.0).amax((1, 2))[:, None]
            boxes = boxes + (group.to(boxes.dtype) * (largest + 1))[..., None]
        keep = torch.ops.selnext_mm.nms_keep(boxes, scores, self.iou_threshold, self.limit)
        return best(torch.where(keep, scores, EMPTY), self.limit)
