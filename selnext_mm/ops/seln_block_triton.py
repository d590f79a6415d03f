"""The forward pass of the SELNeXt block in four Triton kernels, for GPUs.

The same grouping as on the CPU (:mod:`.seln_block`): the GELU and the sums for its mean while the
product is in registers, the gate applied on the way into the second product, bias, layer scale
and residual in its epilogue. Where C is small enough for a whole row of the result to stay in
registers, ``u`` is never written: a first pass only sums it, a second one computes it again.

Inference only. Sums are made in a fixed order. Held to the equations in Triton's interpreter;
chosen by ``SELNeXt(impl='fused')`` alone until they have been timed on a GPU.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .capabilities import tf32_is_allowed
from .seln_block import BlockWeights, images_of, rows_of, seln_gate

# Up to this width the second form keeps a row of the result in registers.
MAX_RECOMPUTED_CHANNELS = 256


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def depthwise_kernel(
    x, weight, bias, y, height, width, channels,
    K: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """One row of an image, ``BLOCK_W`` columns, ``BLOCK_C`` channels."""
    line, row = tl.program_id(0), tl.program_id(0) % height
    cols = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    chans = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = chans < channels
    acc = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    for i in tl.static_range(K):
        for j in tl.static_range(K):
            r, c = row + i - K // 2, cols + j - K // 2
            in_row = (c >= 0) & (c < width)
            valid = tl.where((r >= 0) & (r < height), in_row, False)
            start = (line + i - K // 2).to(tl.int64) * width
            offset = (start + c)[:, None] * channels + chans[None, :]
            value = tl.load(x + offset, mask=valid[:, None] & inside[None, :], other=0.0)
            factor = tl.load(weight + (i * K + j) * channels + chans, mask=inside, other=0.0)
            acc += value.to(tl.float32) * factor.to(tl.float32)[None, :]
    acc += tl.load(bias + chans, mask=inside, other=0.0).to(tl.float32)[None, :]
    offset = (line.to(tl.int64) * width + cols)[:, None] * channels + chans[None, :]
    mask = (cols < width)[:, None] & inside[None, :]
    tl.store(y + offset, acc.to(y.dtype.element_ty), mask=mask)


@triton.jit
def expand_kernel(
    y, w1, b1, u, sums, positions, channels, wide,
    STORE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``u = gelu(W1 y + b1)`` of a tile, stored or not, and its sum over the tile's positions."""
    image = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    cols = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    row_in, col_in = rows < positions, cols < wide
    acc = tl.zeros((BLOCK_P, BLOCK_E), tl.float32)
    for start in range(0, channels, BLOCK_C):
        k = start + tl.arange(0, BLOCK_C)
        k_in = k < channels
        offset = (image * positions + rows)[:, None] * channels + k[None, :]
        a = tl.load(y + offset, mask=row_in[:, None] & k_in[None, :], other=0.0)
        offset = cols[None, :] * channels + k[:, None]
        b = tl.load(w1 + offset, mask=k_in[:, None] & col_in[None, :], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    acc += tl.load(b1 + cols, mask=col_in, other=0.0).to(tl.float32)[None, :]
    value = tl.where(row_in[:, None], _gelu(acc), 0.0).to(y.dtype.element_ty)
    if STORE:
        offset = (image * positions + rows)[:, None] * wide + cols[None, :]
        tl.store(u + offset, value, mask=row_in[:, None] & col_in[None, :])
    offset = (image * tl.num_programs(0) + tl.program_id(0)) * wide + cols
    tl.store(sums + offset, tl.sum(value.to(tl.float32), 0), mask=col_in)


@triton.jit
def project_kernel(
    u, scales, w2, b2, gamma, x, out, positions, channels, wide, PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``x + gamma * (W2 (s * u) + b2)`` of a tile."""
    image = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    cols = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    row_in, col_in = rows < positions, cols < channels
    acc = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, wide, BLOCK_E):
        k = start + tl.arange(0, BLOCK_E)
        k_in = k < wide
        offset = (image * positions + rows)[:, None] * wide + k[None, :]
        a = tl.load(u + offset, mask=row_in[:, None] & k_in[None, :], other=0.0)
        s = tl.load(scales + image * wide + k, mask=k_in, other=0.0)
        a = (a.to(tl.float32) * s[None, :]).to(u.dtype.element_ty)
        offset = cols[None, :] * wide + k[:, None]
        b = tl.load(w2 + offset, mask=k_in[:, None] & col_in[None, :], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    acc += tl.load(b2 + cols, mask=col_in, other=0.0)[None, :]
    acc *= tl.load(gamma + cols, mask=col_in, other=0.0)[None, :]
    offset = (image * positions + rows)[:, None] * channels + cols[None, :]
    mask = row_in[:, None] & col_in[None, :]
    acc += tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + offset, acc.to(out.dtype.element_ty), mask=mask)


@triton.jit
def recompute_kernel(
    y, w1, b1, scales, w2, b2, gamma, x, out, positions, channels, wide, PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``x + gamma * (W2 (s * gelu(W1 y + b1)) + b2)``, whole rows; ``BLOCK_C >= channels``."""
    image = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    chans = tl.arange(0, BLOCK_C)
    chan_in = chans < channels
    mask = (rows < positions)[:, None] & chan_in[None, :]
    offset = (image * positions + rows)[:, None] * channels + chans[None, :]
    a = tl.load(y + offset, mask=mask, other=0.0)
    acc = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, wide, BLOCK_E):
        e = start + tl.arange(0, BLOCK_E)
        e_in = e < wide
        weight = tl.load(
            w1 + e[None, :] * channels + chans[:, None],
            mask=chan_in[:, None] & e_in[None, :], other=0.0,
        )  # fmt: skip
        h = tl.dot(a, weight, input_precision=PRECISION)
        h += tl.load(b1 + e, mask=e_in, other=0.0).to(tl.float32)[None, :]
        s = tl.load(scales + image * wide + e, mask=e_in, other=0.0)
        gated = (_gelu(h) * s[None, :]).to(y.dtype.element_ty)
        weight = tl.load(
            w2 + chans[None, :] * wide + e[:, None],
            mask=e_in[:, None] & chan_in[None, :], other=0.0,
        )  # fmt: skip
        acc = tl.dot(gated, weight, acc, input_precision=PRECISION)
    acc += tl.load(b2 + chans, mask=chan_in, other=0.0)[None, :]
    acc *= tl.load(gamma + chans, mask=chan_in, other=0.0)[None, :]
    acc += tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + offset, acc.to(out.dtype.element_ty), mask=mask)


class KernelWeights(NamedTuple):
    """The weights as the kernels want them."""

    w: BlockWeights  # cast
    depthwise: Tensor  # (k * k, C)
    w2: Tensor


@torch.no_grad()
def kernel_weights(w: BlockWeights, dtype: torch.dtype) -> KernelWeights:
    """Weights for :func:`triton_block`, which computes in ``dtype``."""
    w = BlockWeights(*(t.contiguous() for t in w.cast(dtype)))
    depthwise = w.dw_weight.flatten(1).t().contiguous()
    return KernelWeights(w, depthwise, w.w2.to(dtype))  # gamma in float16 would be out of range


def triton_depthwise(x: Tensor, weights: KernelWeights) -> Tensor:
    """The depth-wise convolution (odd kernel, same size) of a channels-last (N, C, H, W)."""
    n, channels, height, width = x.shape
    kernel = weights.w.dw_weight.shape[-1]
    y = torch.empty_like(x, dtype=weights.depthwise.dtype, memory_format=torch.channels_last)
    block_w, block_c = 16, min(64, triton.next_power_of_2(channels))
    grid = (n * height, triton.cdiv(width, block_w), triton.cdiv(channels, block_c))
    depthwise_kernel[grid](
        *(x, weights.depthwise, weights.w.dw_bias, y, height, width, channels),
        *(kernel, block_w, block_c),
    )
    return y


def triton_block(
    x: Tensor, weights: KernelWeights, eps: float, recompute: bool | None = None
) -> Tensor:
    """The block, (N, C, H, W) -> (N, C, H, W) channels-last, without a gradient.

    Args:
        x: the input.
        weights: the weights, from :func:`kernel_weights`.
        eps: of the gate's norm.
        recompute: compute ``u`` twice instead of storing it; None: for widths up to
            ``MAX_RECOMPUTED_CHANNELS``.
    """
    with torch.cuda.device_of(x):  # kernels run on the current device
        return _block(x, weights, eps, recompute)


def _block(x: Tensor, weights: KernelWeights, eps: float, recompute: bool | None) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    y, residual = rows_of(triton_depthwise(x, weights)), rows_of(x)
    w, _, w2 = weights
    n, positions, channels = y.shape
    wide = len(w.b1)
    if recompute is None:
        recompute = channels <= MAX_RECOMPUTED_CHANNELS
    half = y.element_size() == 2
    precision = 'tf32' if tf32_is_allowed() else 'ieee'
    block_p, block_e, block_c = 64, 64, 64 if half else 32
    blocks = triton.cdiv(positions, block_p)
    sums = y.new_empty((n, blocks, wide), dtype=torch.float32)
    u = y if recompute else y.new_empty((n, positions, wide))
    expand_kernel[(blocks, triton.cdiv(wide, block_e), n)](
        y, w.w1, w.b1, u, sums, positions, channels, wide,
        not recompute, precision, block_p, block_e, block_c,
    )  # fmt: skip
    scales = seln_gate(sums.sum(1) / positions, w, eps).contiguous()
    out = torch.empty_like(residual)
    if recompute:
        block_c = max(16, triton.next_power_of_2(channels))
        block_p, block_e = (64, 32) if block_c <= 128 else (32, 32)
        recompute_kernel[(triton.cdiv(positions, block_p), n)](
            y, w.w1, w.b1, scales, w2, w.b2, w.gamma, residual, out, positions, channels, wide,
            precision, block_p, block_c, block_e,
        )  # fmt: skip
    else:
        project_kernel[(blocks, triton.cdiv(channels, 64), n)](
            u, scales, w2, w.b2, w.gamma, residual, out, positions, channels, wide,
            precision, block_p, 64, 64 if half else 32,
        )  # fmt: skip
    return images_of(out, x)
