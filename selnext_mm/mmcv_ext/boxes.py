"""Overlaps of boxes. A box is (x1, y1, x2, y2); its width is x2 - x1 + offset."""

import torch
from torch import Tensor

from selnext_mm.mmcv_ext.numeric import exact, working

IOU, IOF = 0, 1  # intersection over union, over the first box (foreground)


def with_area(boxes: Tensor, offset: float) -> Tensor:
    """Boxes (N, 4) as rows x1, y1, x2, y2, area: (5, N)."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([x1, y1, x2, y2, (x2 - x1 + offset) * (y2 - y1 + offset)])


def overlaps(first: Tensor, second: Tensor, offset: float, mode: int = IOU) -> Tensor:
    """Intersection over union (or over ``first``) of boxes in the form of :func:`with_area`.

    The order of operations is that of mmcv's kernel, so that the results are equal bit by bit and
    the same boxes exceed a threshold. Two boxes without area give nan.

    Args:
        first: (5, M, 1) for all pairs, or (5, N).
        second: (5, 1, N), or (5, N).

    Returns:
        Tensor: (M, N), or (N,) for pairs.
    """
    width = torch.minimum(first[2], second[2]).sub_(torch.maximum(first[0], second[0]))
    height = torch.minimum(first[3], second[3]).sub_(torch.maximum(first[1], second[1]))
    if offset:
        width.add_(offset)
        height.add_(offset)
    inter = width.clamp_(min=0).mul_(height.clamp_(min=0))
    if mode == IOF:
        return inter.div_(first[4])
    return inter.div_((first[4] + second[4]).sub_(inter))


@exact
def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Write the overlaps of ``bboxes1`` (M, 4) and ``bboxes2`` (N, 4) into ``ious``.

    Args:
        ious: (M, N), or with ``aligned`` (N,) for pairs.
        mode: 0 divides by the union, 1 by the area of the box of ``bboxes1``.
        offset: 0, or 1 for boxes that include their last pixel.
    """
    first = with_area(working(bboxes1), offset)
    second = with_area(working(bboxes2), offset)
    if not aligned:
        first, second = first[:, :, None], second[:, None, :]
    ious.copy_(overlaps(first, second, offset, mode))
