"""Two operators that a tracer records as one node each: NMS, and RoIAlign over a pyramid.

mmcv's operators are compiled, so ``torch.export`` cannot trace them. These are registered with
``torch.library``: nodes of a known shape, which ``translations.py`` writes as standard ONNX
operators. In PyTorch they call mmcv's, so a graph can be compared with the detector before export.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.library.custom_op('selnext_mm::nms_keep', mutates_args=())
def nms_keep(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int) -> Tensor:
    """Which boxes greedy NMS keeps, at most the best ``limit``.

    A box is suppressed by a better one that is kept and has an IoU above ``iou_threshold`` with it.

    Shapes: boxes (B, n, 4) as x1, y1, x2, y2; scores (B, n), negative for an empty entry
    -> (B, n) bool.
    """
    from mmcv.ops import nms

    keep = torch.zeros(scores.shape, dtype=torch.bool)
    for row, box, score in zip(keep, boxes, scores, strict=True):
        (places,) = torch.where(score >= 0)
        if len(places):
            kept = nms(box[places].contiguous(), score[places].contiguous(), iou_threshold)[1]
            row[places[kept[:limit]]] = True
    return keep


@nms_keep.register_fake
def _(boxes, scores, iou_threshold, limit):
    return scores.new_empty(scores.shape, dtype=torch.bool)


@torch.library.custom_op('selnext_mm::roi_align_pyramid', mutates_args=())
def roi_align_pyramid(
    maps: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    size: int,
    sampling_ratio: int,
) -> Tensor:
    """RoIAlign (aligned, mean) of every box on the map of its level.

    Shapes: maps (N, C, h_i, w_i), whose pixels are 1 / ``scales[i]`` apart; rois (R, 5) as image,
    x1, y1, x2, y2; levels (R,) -> (R, C, size, size). A ``sampling_ratio`` of 0 takes as many
    points per bin as it has pixels.
    """
    from mmcv.ops import roi_align

    result = maps[0].new_zeros(len(rois), maps[0].shape[1], size, size)
    for i, (x, scale) in enumerate(zip(maps, scales, strict=True)):
        (places,) = torch.where(levels == i)
        if len(places):
            # mmcv silently misreads channels-last tensors.
            result[places] = roi_align(
                x.contiguous(), rois[places], (size, size), scale, sampling_ratio, 'avg', True
            )
    return result


@roi_align_pyramid.register_fake
def _(maps, rois, levels, scales, size, sampling_ratio):
    return maps[0].new_empty(rois.shape[0], maps[0].shape[1], size, size)
