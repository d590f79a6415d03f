"""The positions where RoIAlign samples a map, and their bilinear weights."""

from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """The samples of R boxes along one axis, P bins of up to S samples each."""

    at: Tensor  # (R, P, S) positions
    counts: Tensor  # (R,) samples in a bin
    size: int  # pixels of the map along this axis

    def inside(self) -> Tensor:
        """Which samples exist and are at most a pixel outside the map: (R, P, S)."""
        number = torch.arange(self.at.shape[2], device=self.at.device)
        exists = number < self.counts[:, None, None]
        return exists & (self.at >= -1) & (self.at <= self.size)


def bilinear(at: Tensor, inside: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two pixels around each position, and their weights, which are 0 where not ``inside``."""
    at = at.clamp(min=0)
    low = at.floor().clamp(max=size - 1)
    part = torch.where(low == size - 1, 0, at - low)
    low = low.long()
    high = (low + 1).clamp(max=size - 1)
    return low, high, torch.where(inside, 1 - part, 0), torch.where(inside, part, 0)


def check_sizes(rois: Tensor, heights: Tensor, widths: Tensor) -> None:
    """Refuse boxes of negative or undefined size, as the compiled operator does on a CPU.

    Raises:
        RuntimeError: for such a box, which the message names.
    """
    right = (heights >= 0) & (widths >= 0) & heights.isfinite() & widths.isfinite()
    if not right.all():
        row = int((~right).nonzero()[0])
        box = ', '.join(f'{value:g}' for value in rois[row, 1:].tolist())
        raise RuntimeError(
            f'RoIAlign: box {row} of {len(rois)} has a negative or undefined size: ({box})'
        )


def sample(
    rois: Tensor,
    bins: tuple[int, int],
    size: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
) -> tuple[Axis, Axis]:
    """The samples along y and x of boxes (R, 5), each (image, x1, y1, x2, y2).

    A box has ``bins`` bins of ``ratio`` samples along each axis; with ``ratio`` 0 a bin has a
    sample per pixel. With ``aligned`` the value of a pixel is at its centre; without it boxes are
    at least one pixel wide and high.

    Raises:
        RuntimeError: for boxes of negative or undefined size.
    """
    x1, y1, x2, y2 = (rois[:, 1:] * scale - (0.5 if aligned else 0)).unbind(1)
    lengths = [y2 - y1, x2 - x1]
    if not aligned:
        lengths = [length.clamp(min=1) for length in lengths]
    check_sizes(rois, *lengths)
    axes = []
    for start, length, number, pixels in zip((y1, x1), lengths, bins, size, strict=True):
        step = length / number
        counts = step.ceil() if ratio <= 0 else torch.full_like(step, ratio)
        most = int(counts.max()) if len(counts) else 0
        start, step, count = (t[:, None, None] for t in (start, step, counts.clamp(min=1)))
        inner = (torch.arange(most, device=rois.device) + 0.5) * step / count
        corner = start + torch.arange(number, device=rois.device)[:, None] * step
        axes.append(Axis(corner + inner, counts, pixels))
    return axes[0], axes[1]


def mean_weights(axis: Axis) -> Tensor:
    """The weights of the pixels in the mean of each bin along an axis: (R, P, size)."""
    low, high, w_low, w_high = bilinear(axis.at, axis.inside(), axis.size)
    count = axis.counts.clamp(min=1)[:, None, None]
    weights = axis.at.new_zeros(*axis.at.shape[:2], axis.size)
    return weights.scatter_add_(2, low, w_low / count).scatter_add_(2, high, w_high / count)


def sample_weights(axis: Axis) -> Tensor:
    """The weights of the pixels in each sample along an axis: (R, P, S, size)."""
    parts = bilinear(axis.at, axis.inside(), axis.size)
    low, high, w_low, w_high = (part[..., None] for part in parts)
    weights = axis.at.new_zeros(*axis.at.shape, axis.size)
    return weights.scatter_add_(3, low, w_low).scatter_add_(3, high, w_high)


def pixel_range(axis: Axis) -> tuple[Tensor, Tensor]:
    """The first and the last + 1 pixel that each box uses, at least one pixel: (R,) each."""
    if axis.at.shape[2] == 0:  # no box has a sample
        first = torch.zeros_like(axis.counts, dtype=torch.long)
        return first, first + 1
    inside = axis.inside()
    low, high, _, _ = bilinear(axis.at, inside, axis.size)
    first = torch.where(inside, low, axis.size - 1).flatten(1).amin(1)
    last = torch.where(inside, high, 0).flatten(1).amax(1)
    return first, torch.maximum(first, last) + 1


def spans(rois: Tensor, y: Axis, x: Axis) -> list[list[int]]:
    """(image, y0, y1, x0, x1) of the window that each box uses."""
    return torch.stack([rois[:, 0].long(), *pixel_range(y), *pixel_range(x)], 1).tolist()
