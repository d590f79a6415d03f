"""A linear layer with what follows it in the same pass: exact GELU, or the sum with a residual.

All functions work on rows, (R, in) -> (R, out), and record nothing for autograd. ``weight`` may
be the result of :func:`pack_weight`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .capabilities import has_fused_linear

# A packed weight is laid out for this number of rows; it works with any other number, too.
ROWS = 1024


def _fused(x: Tensor) -> bool:
    return x.device.type == 'cpu' and has_fused_linear(x.dtype)


def pack_weight(weight: Tensor) -> Tensor:
    """``weight`` (out, in) in the blocked layout of oneDNN's linear layer.

    Without the private operators it is ``weight`` itself.
    """
    if not _fused(weight):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b``, with oneDNN where possible; ``weight`` may be a transposed view."""
    if _fused(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')
    return F.linear(x, weight, bias)


def linear_gelu_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``gelu(x W^T + b)``, the exact (erf) GELU."""
    return F.gelu(F.linear(x, weight, bias))


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``gelu(x W^T + b)`` with the GELU applied while the product is in the cache."""
    if _fused(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'gelu', [], 'none')
    return linear_gelu_reference(x, weight, bias)


def linear_add_reference(x: Tensor, weight: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    """``other + x W^T + b``, with ``other`` of the output's shape."""
    return other + F.linear(x, weight, bias)


def linear_add(x: Tensor, weight: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    """``other + x W^T + b`` in one pass; if ``other`` has a wider dtype, so has the sum."""
    if not _fused(x):
        return linear_add_reference(x, weight, bias, other)
    if other.dtype != x.dtype:
        return other + torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')
    return torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, bias, 'add')
