"""RoIAlign as products of small matrices.

A bin averages bilinear samples on a regular grid, so its weights are those along y times those
along x: for a box and a channel out = A_y X A_x^T and grad X = A_y^T G A_x, with a row of A_y and
A_x for each bin. Pixels outside the window of a box have the weight 0 and are left out. For the
maximum of the samples, the matrices have a row for each sample.

On a GPU many small products would be slow to launch, so torchvision's operator averages there.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from selnext_mm.mmcv_ext.maps import Windows, WindowSums
from selnext_mm.mmcv_ext.numeric import exact, working
from selnext_mm.mmcv_ext.roi_samples import (
    Axis,
    bilinear,
    mean_weights,
    sample,
    sample_weights,
    spans,
)
from selnext_mm.mmcv_ext.torchvision_ops import chosen

MAX = 0  # pool_mode; 1 is the mean
LOWEST = -10000.0  # initial value of the maximum in the compiled operator


def means(maps: Tensor, rois: Tensor, y: Axis, x: Axis) -> Tensor:
    """A_y X A_x^T of R boxes: (R, P, Q, C)."""
    places, channels = spans(rois, y, x), maps.shape[1]
    a_y, a_x, windows = mean_weights(y), mean_weights(x), Windows(maps, places)
    out = maps.new_empty(*a_y.shape[:2], a_x.shape[1], channels)
    for row, (_, y0, y1, x0, x1) in enumerate(places):
        lines = a_y[row, :, y0:y1] @ windows.read(row)
        columns = a_x[row, :, x0:x1]
        if channels == 1:
            torch.mm(lines, columns.T, out=out[row, ..., 0])
        else:
            lines = lines.view(-1, x1 - x0, channels)
            torch.bmm(columns.expand(len(lines), -1, -1), lines, out=out[row])
    return out


def add_mean_gradients(grads: Tensor, rois: Tensor, y: Axis, x: Axis, maps: Tensor) -> None:
    """Write the sum of A_y^T G A_x of all boxes into ``maps``, with G (R, P, Q, C)."""
    places = spans(rois, y, x)
    a_y, a_x, sums = mean_weights(y), mean_weights(x), WindowSums(maps, places)
    for row, (_, y0, y1, x0, x1) in enumerate(places):
        columns = a_x[row, :, x0:x1].T.expand(grads.shape[1], -1, -1)
        lines = torch.bmm(columns, grads[row])
        sums.add(row, a_y[row, :, y0:y1].T, lines.flatten(1))
    sums.finish()


def maxima(maps: Tensor, rois: Tensor, y: Axis, x: Axis) -> Iterator[tuple[Tensor, ...]]:
    """The highest sample of each bin, and its y and x, box by box: (P, Q, C) each."""
    places, channels = spans(rois, y, x), maps.shape[1]
    w_y, w_x, windows = sample_weights(y), sample_weights(x), Windows(maps, places)
    for row, (_, y0, y1, x0, x1) in enumerate(places):
        rows, columns = int(y.counts[row]), int(x.counts[row])
        bins = w_y.shape[1], w_x.shape[1]
        if not rows * columns:
            lowest = maps.new_full((*bins, channels), LOWEST)
            yield lowest, torch.full_like(lowest, -1), torch.full_like(lowest, -1)
            continue
        lines = w_y[row, :, :rows, y0:y1].flatten(0, 1) @ windows.read(row)
        matrix = w_x[row, :, :columns, x0:x1].flatten(0, 1)
        values = matrix @ lines.view(len(lines), x1 - x0, channels)
        values = values.view(bins[0], rows, bins[1], columns, channels).transpose(1, 2)
        best, number = values.flatten(2, 3).max(2)
        at_y = y.at[row].gather(1, number.div(columns, rounding_mode='floor').flatten(1))
        at_x = x.at[row].gather(1, (number % columns).transpose(0, 1).flatten(1))
        at_x = at_x.view(bins[1], bins[0], channels).transpose(0, 1)
        found = best > LOWEST
        yield (
            torch.where(found, best, LOWEST),
            torch.where(found, at_y.view_as(best), -1),
            torch.where(found, at_x, -1),
        )


def add_max_gradients(grad: Tensor, rois: Tensor, at_y: Tensor, at_x: Tensor, maps: Tensor) -> None:
    """Add each gradient of (R, C, P, Q) to the four pixels around the sample that it belongs to."""
    _, channels, height, width = maps.shape
    inside = (at_y != -1) & (at_y >= -1) & (at_y <= height) & (at_x >= -1) & (at_x <= width)
    rows = bilinear(at_y, inside, height)
    columns = bilinear(at_x, inside, width)
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    flat = maps.view(-1)
    for y, w_y in zip(rows[:2], rows[2:], strict=True):
        for x, w_x in zip(columns[:2], columns[2:], strict=True):
            index = (plane[..., None, None] * height + y) * width + x
            flat.index_add_(0, index.flatten(), (grad * w_y * w_x).flatten())


@exact
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool boxes of maps into ``output``.

    Args:
        input: maps (B, C, H, W), of any memory layout.
        rois: boxes (R, 5), each (image, x1, y1, x2, y2).
        output: (R, C, aligned_height, aligned_width).
        argmax_y, argmax_x: in mode 0 like ``output``, the positions of the highest samples.
        spatial_scale: factor from the boxes' coordinates to those of the maps.
        sampling_ratio: samples per bin and axis, 0 for one per pixel.
        pool_mode: 0 for the highest sample, 1 for the mean.
        aligned: see :func:`~selnext_mm.mmcv_ext.roi_samples.sample`.

    Raises:
        RuntimeError: for boxes of negative or undefined size (not with torchvision's operator).
    """
    maps, rois = working(input), working(rois).to(working(input))
    bins = aligned_height, aligned_width
    if pool_mode != MAX and chosen('roi_align', maps):
        pool = torch.ops.torchvision.roi_align
        output.copy_(pool(maps, rois, spatial_scale, *bins, sampling_ratio, aligned))
        return
    y, x = sample(rois, bins, maps.shape[2:], spatial_scale, sampling_ratio, aligned)
    if pool_mode != MAX:
        output.copy_(means(maps, rois, y, x).permute(0, 3, 1, 2))
        return
    for row, parts in enumerate(maxima(maps, rois, y, x)):
        for target, part in zip((output, argmax_y, argmax_x), parts, strict=True):
            target[row] = part.permute(2, 0, 1)


@exact
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the maps into ``grad_input`` (B, C, H, W).

    The other arguments are those of :func:`roi_align_forward`.
    """
    grad, rois = working(grad_output), working(rois).to(working(grad_output))
    bins, size = (aligned_height, aligned_width), grad_input.shape
    if pool_mode != MAX and chosen('roi_align', grad):
        pool = torch.ops.torchvision._roi_align_backward
        grad_input.copy_(pool(grad, rois, spatial_scale, *bins, *size, sampling_ratio, aligned))
        return
    direct = grad_input.dtype == grad.dtype and grad_input.is_contiguous()
    maps = grad_input.zero_() if direct else grad.new_zeros(size)
    if pool_mode == MAX:
        add_max_gradients(grad, rois, working(argmax_y), working(argmax_x), maps)
    else:
        y, x = sample(rois, bins, size[2:], spatial_scale, sampling_ratio, aligned)
        # (R, P, Q, C), channels-last as in the maps.
        add_mean_gradients(grad.permute(0, 2, 3, 1).contiguous(), rois, y, x, maps)
    if not direct:
        grad_input.copy_(maps)
