"""The block's forward pass on a CPU, on rows.

The block is bound by the memory traffic of ``u``, which has four times the channels of ``x``. So
only a few images are processed at a time, whose ``u`` stays in the cache between the first layer,
the mean, the gate and the second layer. Exact regrouping saves further passes: the gate is
multiplied into W2 (``W2 (s * u) = (W2 diag(s)) u``) if that is cheaper. Then ``gamma`` is
multiplied into W2 as well, as in packed weights; otherwise it multiplies the rows.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..gelu_linear import linear, linear_add, linear_gelu
from .equations import BlockWeights, gate_goes_into_w2, seln_gate

# Bytes of ``u`` that are processed at a time. Small enough for the cache, and for malloc to reuse
# memory instead of mapping and zeroing new pages; large enough to make call overhead negligible.
CHUNK_BYTES = 10 * 2**20
# Rows of bfloat16 that are summed into one row of bfloat16.
SUMMED_ROWS = 32


class PackedWeights(NamedTuple):
    """What a deployed block keeps between calls, in the layout of the fast layers."""

    w1: Tensor
    w2: Tensor  # gamma * W2
    rest: BlockWeights  # cast
    dtype: torch.dtype


def depthwise(x: Tensor, w: BlockWeights) -> Tensor:
    """The depth-wise convolution of the block, channels-last, in the dtype of its weights."""
    weight = w.dw_weight
    x = x.to(weight.dtype)
    y = F.conv2d(x, weight, w.dw_bias, padding=weight.shape[-1] // 2, groups=x.shape[1])
    return y.contiguous(memory_format=torch.channels_last)


def spatial_sums(u: Tensor) -> Tensor:
    """Sums over the positions of (N, P, E), (N, E) in float32.

    Summing bfloat16 in float32 would first make a float32 copy of ``u``. Sums of a few rows in
    bfloat16 avoid it: each is rounded once, and the rounding errors of many sums average out.
    """
    if u.dtype == torch.float32:
        return u.sum(1)
    n, positions, wide = u.shape
    even = positions - positions % SUMMED_ROWS
    groups = u[:, :even].view(n, -1, SUMMED_ROWS, wide).sum(2)
    rest = u[:, even:].sum(1, dtype=torch.float32)
    return rest.add_(groups.sum(1, dtype=torch.float32))


def gated_mlp(
    y: Tensor,
    x: Tensor,
    w: BlockWeights,
    eps: float,
    scale: float = 1.0,
    packed: PackedWeights | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``x + scale * gamma * (W2 (s * gelu(W1 y + b1)) + b2)`` on rows.

    Args:
        y: (N, P, C), the output of the depth-wise convolution, in the dtype to compute in.
        x: (N, P, C), the residual; the sum has its dtype.
        w: the weights as :meth:`BlockWeights.cast` gives them for the dtype of ``y``.
        eps: of the gate's norm.
        scale: a factor on the branch.
        packed: weights kept from an earlier call; only with ``scale`` 1.
        hidden: ``W1 y + b1``, (N, P, E), if known; only where the gate does not go into W2.

    Returns (N, P, C) and the means of ``u``, (N, E) in float32.
    """
    n, positions, channels = y.shape
    wide = len(w.b1)
    out, means = torch.empty_like(x), y.new_empty((n, wide), dtype=torch.float32)
    factor = w.gamma * scale
    w1 = w.w1 if packed is None else packed.w1
    b2 = (w.b2 * factor).to(y.dtype)
    image_bytes = positions * wide * y.element_size()
    if hidden is None and (image_bytes > CHUNK_BYTES or gate_goes_into_w2(positions, channels)):
        strip = max(1, CHUNK_BYTES // (wide * y.element_size()))
        w2 = w.w2 * factor[:, None]
        for i in range(n):
            parts = [linear_gelu(part, w1, w.b1) for part in y[i].split(strip)]
            sums = torch.cat([spatial_sums(part[None]) for part in parts])
            torch.div(sums.sum(0), positions, out=means[i])
            gated = (w2 * seln_gate(means[i], w, eps)).to(y.dtype)
            pieces = zip(parts, x[i].split(strip), out[i].split(strip), strict=True)
            for u, residual, result in pieces:
                result.copy_(linear_add(u, gated, b2, residual))
        return out, means
    images = max(1, CHUNK_BYTES // max(1, image_bytes))
    w2 = w.w2.to(y.dtype) if packed is None else packed.w2
    for i in range(0, n, images):
        if hidden is None:
            u = linear_gelu(y[i : i + images].flatten(0, 1), w1, w.b1)
        else:
            u = F.gelu(hidden[i : i + images].flatten(0, 1))
        per_image = u.view(-1, positions, wide)
        mean = torch.div(spatial_sums(per_image), positions, out=means[i : i + images])
        per_image.mul_(seln_gate(mean, w, eps).to(u.dtype)[:, None])
        residual, result = (t[i : i + images].view(-1, channels) for t in (x, out))
        if packed is None:  # few rows: a pass over them costs less than gamma * W2
            torch.addcmul(residual, linear(u, w2, w.b2.to(y.dtype)), factor, out=result)
            continue
        total = linear_add(u, w2, b2, residual)
        if images >= n:
            return total.view(x.shape), means
        result.copy_(total)
    return out, means
