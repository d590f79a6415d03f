"""RoIPool: the highest value of each bin of a box; bins end at whole pixels.

torchvision's operator gives other features: it rounds a box before dividing it into bins, and
mmcv does not.
"""

import torch
from torch import Tensor

from selnext_mm.mmcv_ext.numeric import exact, working


def edges(start: Tensor, end: Tensor, bins: int, size: int) -> tuple[Tensor, Tensor]:
    """First and last + 1 pixel of each bin along an axis, clipped to the map; (R, bins) each."""
    step = ((end - start) / bins)[:, None]
    number = torch.arange(bins, device=start.device)
    first = (number * step + start[:, None]).floor()
    last = ((number + 1) * step + start[:, None]).ceil()
    return first.clamp(0, size).long(), last.clamp(0, size).long()


def members(first: Tensor, last: Tensor, start: int, end: int) -> Tensor:
    """Which pixels of [start, end) belong to each bin: (bins, end - start)."""
    pixels = torch.arange(start, end, device=first.device)
    return (pixels >= first[:, None]) & (pixels < last[:, None])


def pool(window: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Highest values of a window (C, h, w) and their positions y and x: (C, P, Q) each.

    Args:
        rows: (P, h), which rows belong to a bin.
        columns: (Q, w), likewise.

    Of equal values the first one counts, row by row. Bins without pixels give -inf.
    """
    lines, x = window[:, :, None].masked_fill(~columns, -torch.inf).max(3)  # (C, h, Q)
    lines, x = lines.transpose(1, 2), x.transpose(1, 2)
    best, y = lines[:, None].masked_fill(~rows[:, None], -torch.inf).max(3)  # (C, P, Q)
    return best, y, x[:, None].expand(-1, len(rows), -1, -1).gather(3, y[..., None])[..., 0]


@exact
def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Pool boxes of maps into ``output``; bins without a pixel give 0.

    Args:
        input: maps (B, C, H, W).
        rois: boxes (R, 5), each (image, x1, y1, x2, y2), which include their last pixel.
        output: (R, C, pooled_height, pooled_width).
        argmax: int32, like ``output``: y * W + x of the highest value, -1 if there is none.
        spatial_scale: factor from the boxes' coordinates to those of the maps.
    """
    maps, (height, width) = working(input), input.shape[2:]
    boxes = working(rois).to(maps)
    x1, y1 = (boxes[:, 1:3] * spatial_scale).unbind(1)
    x2, y2 = ((boxes[:, 3:] + 1) * spatial_scale).unbind(1)
    tops, bottoms = edges(y1, y2, pooled_height, height)
    lefts, rights = edges(x1, x2, pooled_width, width)
    output.zero_()
    argmax.fill_(-1)
    spans = [boxes[:, 0].long(), tops[:, 0], bottoms[:, -1], lefts[:, 0], rights[:, -1]]
    for row, (image, top, bottom, left, right) in enumerate(torch.stack(spans, 1).tolist()):
        if bottom <= top or right <= left:
            continue
        best, y, x = pool(
            maps[image, :, top:bottom, left:right],
            members(tops[row], bottoms[row], top, bottom),
            members(lefts[row], rights[row], left, right),
        )
        found = best > -torch.inf
        output[row] = torch.where(found, best, 0)
        argmax[row] = torch.where(found, (y + top) * width + x + left, -1)


@exact
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Write the gradient of the maps into ``grad_input``: each value goes to its highest pixel.

    The other arguments are those of :func:`roi_pool_forward`.
    """
    grad, (_, channels, height, width) = working(grad_output), grad_input.shape
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    index = plane[..., None, None] * (height * width) + argmax.clamp(min=0)
    sums = grad.new_zeros(grad_input.shape)
    values = torch.where(argmax >= 0, grad, 0)
    sums.view(-1).index_add_(0, index.flatten(), values.flatten())
    grad_input.copy_(sums)
