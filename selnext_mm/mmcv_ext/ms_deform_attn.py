"""Multi-scale deformable attention (Zhu et al., 2021, eq. 3): a weighted sum of bilinear samples.

All samples of a query and a head, over all levels, are one weighted sum of rows of the values.
On a CPU mmcv does not call these operators: it composes them from torch's own.
"""

import torch
from torch import Tensor

from selnext_mm.mmcv_ext.bilinear_sum import corners, weighted_rows
from selnext_mm.mmcv_ext.numeric import exact, gradients, working


def attend(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Tensor, starts: Tensor
) -> Tensor:
    """The attention, (B, Q, M, D). Differentiable in value, locations and weights.

    Args:
        value: (B, K, M, D), K keys of all levels and M heads.
        locations: (B, Q, M, L, P, 2), x and y of P points, from 0 to 1 over each of L levels.
        weights: (B, Q, M, L, P).
        shapes: (L, 2), height and width of each level.
        starts: (L,), the first key of each level.
    """
    batch, keys, heads, _ = value.shape
    height, width = (size[:, None] for size in shapes.unbind(1))
    x, y = locations.unbind(-1)
    pixels, parts = corners(y * height - 0.5, x * width - 0.5, height, width)
    image = torch.arange(batch, device=value.device)[:, None, None, None, None, None]
    head = torch.arange(heads, device=value.device)[:, None, None, None]
    index = ((image * keys + starts[:, None, None] + pixels) * heads + head).flatten(3)
    parts = (parts * weights[..., None]).flatten(3)
    sums = weighted_rows(value.flatten(0, 2), index.flatten(0, 2), parts.flatten(0, 2))
    return sums.view(*index.shape[:3], -1)


@exact
def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """(B, Q, M D); the arguments are those of :func:`attend`. ``im2col_step`` is not needed."""
    tensors = (working(value), working(sampling_locations), working(attention_weights))
    out = attend(*tensors, value_spatial_shapes, value_level_start_index)
    return out.flatten(2).to(value)


@exact
def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients into ``grad_value``, ``grad_sampling_loc`` and ``grad_attn_weight``."""

    def function(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        shapes, starts = value_spatial_shapes, value_level_start_index
        return attend(value, locations, weights, shapes, starts).flatten(2)

    tensors = tuple(map(working, (value, sampling_locations, attention_weights)))
    targets = (grad_value, grad_sampling_loc, grad_attn_weight)
    for target, found in zip(
        targets, gradients(function, tensors, working(grad_output)), strict=True
    ):
        target.copy_(found)
