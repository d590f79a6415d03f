"""Weighted sums of bilinear samples at learnt positions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def is_inside(y: Tensor, x: Tensor, height: Tensor | int, width: Tensor | int) -> Tensor:
    """Whether positions are less than a pixel away from a map: (...), bool."""
    return (y > -1) & (y < height) & (x > -1) & (x < width)


def corners(
    y: Tensor, x: Tensor, height: Tensor | int, width: Tensor | int
) -> tuple[Tensor, Tensor]:
    """The four pixels around positions in a map, which is 0 outside.

    Differentiable in ``y`` and ``x``. Exactly at a pixel the derivative is the one towards the next
    pixel, to the right or below.

    Args:
        y, x: positions (...), in pixels.

    Returns:
        tuple: pixels (..., 4) as y * width + x, and their weights, which are 0 outside.
    """
    top, left = y.detach().floor(), x.detach().floor()
    inside = is_inside(y, x, height, width)
    down, right = y - top, x - left
    top, left = top.long(), left.long()
    pixels, weights = [], []
    for row, part_y in ((top, 1 - down), (top + 1, down)):
        for column, part_x in ((left, 1 - right), (left + 1, right)):
            there = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixels.append(torch.where(there, row * width + column, 0))
            weights.append(torch.where(there, part_y * part_x, 0))
    return torch.stack(pixels, -1), torch.stack(weights, -1)


def weighted_rows(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """sum_k weights[n, k] rows[index[n, k]]: (N, C). Differentiable in rows and weights."""
    return F.embedding_bag(index, rows, per_sample_weights=weights, mode='sum')
