"""The block's passes over maps in Triton: GELU with its sums and scales, residual, and gradients.

Maps are rows, (images, positions, channels), channels-last. Sums are in float32 and in a fixed
order; a pass is cut into parts of some positions of one image.
"""

import triton
import triton.language as tl

from .triton_gate import kept_scales, new_scales
from .triton_math import gelu, gelu_with_slope


@triton.jit(do_not_specialize=['positions', 'parts', 'rows_of_part'])
def gelu_sum_kernel(
    h, u, sums, positions, wide, parts, rows_of_part,
    STORE: tl.constexpr, EXACT: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``u = gelu(h)`` and its sums over the positions of a part; ``u`` may be ``h`` itself.

    ``sums`` is (images, parts, E). Without ``STORE`` only the sums are computed.
    """
    image, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    cols = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    col_in = cols < wide
    base = image.to(tl.int64) * positions
    acc = tl.zeros((BLOCK_P, BLOCK_E), tl.float32)
    end = tl.minimum((part + 1) * rows_of_part, positions)
    for start in range(part * rows_of_part, end, BLOCK_P):
        rows = start + tl.arange(0, BLOCK_P)
        mask = (rows < end)[:, None] & col_in[None, :]
        at = (base + rows)[:, None] * wide + cols[None, :]
        value = gelu(tl.load(h + at, mask=mask, other=0.0).to(tl.float32), EXACT)
        if STORE:
            tl.store(u + at, value.to(u.dtype.element_ty), mask=mask)
        acc += value
    at = tl.program_id(0).to(tl.int64) * wide + cols
    tl.store(sums + at, tl.sum(acc, 0), mask=col_in)


@triton.jit(do_not_specialize=['positions'])
def expand_kernel(
    y, w1, b1, h, u, sums, positions, channels, wide,
    KEEP: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``u = gelu(W1 y + b1)`` of a tile, and its sums; with ``KEEP`` ``h = W1 y + b1``, too.

    For narrow blocks, whose product is bound by memory writes. Not for float32.
    """
    image = tl.program_id(2).to(tl.int64)
    cols = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    rows = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    row_in, col_in = rows < positions, cols < wide
    acc = tl.zeros((BLOCK_P, BLOCK_E), tl.float32)
    source = y + (image * positions + rows)[:, None] * channels
    for start in range(0, channels, BLOCK_C):
        k = start + tl.arange(0, BLOCK_C)
        k_in = k < channels
        a = tl.load(source + k[None, :], mask=row_in[:, None] & k_in[None, :], other=0.0)
        b = tl.load(
            w1 + cols[None, :] * channels + k[:, None],
            mask=k_in[:, None] & col_in[None, :], other=0.0,
        )  # fmt: skip
        acc = tl.dot(a, b, acc)
    acc += tl.load(b1 + cols, mask=col_in, other=0.0).to(tl.float32)[None, :]
    at = (image * positions + rows)[:, None] * wide + cols[None, :]
    mask = row_in[:, None] & col_in[None, :]
    if KEEP:
        tl.store(h + at, acc.to(h.dtype.element_ty), mask=mask)
    value = gelu(acc, False)
    tl.store(u + at, value.to(u.dtype.element_ty), mask=mask)
    at = (image * tl.num_programs(1) + tl.program_id(1)) * wide + cols
    tl.store(sums + at, tl.sum(tl.where(row_in[:, None], value, 0.0), 0), mask=col_in)


@triton.jit(do_not_specialize=['images', 'positions', 'parts', 'rows_of_part'])
def gelu_scale_kernel(
    h, state, norm_weight, norm_bias, u,
    images, positions, wide, squeezed, parts, rows_of_part, eps,
    EXACT: tl.constexpr, BLOCK: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``u = s * gelu(h)`` of the positions of a part, s = LN(raw); ``u`` may be ``h`` itself."""
    image, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    cols = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    col_in = cols < wide
    first = (part == 0) & (tl.program_id(1) == 0)
    s = new_scales(
        state, image, images, cols, col_in, wide, squeezed, norm_weight, norm_bias, eps, first,
        BLOCK,
    )  # fmt: skip
    base = image.to(tl.int64) * positions
    end = tl.minimum((part + 1) * rows_of_part, positions)
    for start in range(part * rows_of_part, end, BLOCK_P):
        rows = start + tl.arange(0, BLOCK_P)
        mask = (rows < end)[:, None] & col_in[None, :]
        at = (base + rows)[:, None] * wide + cols[None, :]
        value = gelu(tl.load(h + at, mask=mask, other=0.0).to(tl.float32), EXACT)
        tl.store(u + at, (value * s[None, :]).to(u.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['positions'])
def residual_kernel(
    x, product, b2, gamma, branch_scale, out, positions, channels,
    HAS_BRANCH_SCALE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``out = x + branch_scale * gamma * (product + b2)`` of a tile of an image."""
    image = tl.program_id(2)
    rows = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    cols = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    col_in = cols < channels
    scale = tl.load(gamma + cols, mask=col_in, other=0.0).to(tl.float32)
    if HAS_BRANCH_SCALE:
        scale *= tl.load(branch_scale + image).to(tl.float32)
    shift = tl.load(b2 + cols, mask=col_in, other=0.0).to(tl.float32) * scale
    mask = (rows < positions)[:, None] & col_in[None, :]
    at = (image.to(tl.int64) * positions + rows)[:, None] * channels + cols[None, :]
    value = tl.load(product + at, mask=mask, other=0.0).to(tl.float32)
    value = value * scale[None, :] + shift[None, :]
    value += tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['images', 'positions', 'parts', 'rows_of_part'])
def gated_sum_kernel(
    h, dt, state, norm_weight, norm_bias, branch_scale, gated, sums,
    images, positions, wide, squeezed, parts, rows_of_part,
    EXACT: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``gated = branch_scale s u`` and the sums over a part of ``branch_scale u dt``."""
    image, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    cols = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    col_in = cols < wide
    s = kept_scales(state, image, images, cols, col_in, wide, squeezed, norm_weight, norm_bias)
    scale = 1.0
    if HAS_BRANCH_SCALE:
        scale = tl.load(branch_scale + image).to(tl.float32)
        s *= scale
    base = image.to(tl.int64) * positions
    acc = tl.zeros((BLOCK_P, BLOCK_E), tl.float32)
    end = tl.minimum((part + 1) * rows_of_part, positions)
    for start in range(part * rows_of_part, end, BLOCK_P):
        rows = start + tl.arange(0, BLOCK_P)
        mask = (rows < end)[:, None] & col_in[None, :]
        at = (base + rows)[:, None] * wide + cols[None, :]
        u = gelu(tl.load(h + at, mask=mask, other=0.0).to(tl.float32), EXACT)
        acc += u * tl.load(dt + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(gated + at, (u * s[None, :]).to(gated.dtype.element_ty), mask=mask)
    at = tl.program_id(0).to(tl.int64) * wide + cols
    tl.store(sums + at, tl.sum(acc, 0) * scale, mask=col_in)


@triton.jit(do_not_specialize=['images', 'positions', 'parts', 'rows_of_part'])
def gelu_gradient_kernel(
    h, dt, d_state, state, norm_weight, norm_bias, branch_scale, d_h, sums,
    images, positions, wide, squeezed, parts, rows_of_part,
    GATED: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr, EXACT: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``d_h = (a dt + d_mean / P) gelu'(h)`` and its sums over a part; ``d_h`` may be ``dt``.

    ``a`` is ``branch_scale s``, or 1 without ``GATED``, where the gate is in the weights already.
    """
    image, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    cols = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    col_in = cols < wide
    d_mean = d_state + 2 * images.to(tl.int64) * wide
    shift = tl.load(d_mean + image * wide + cols, mask=col_in, other=0.0) / positions
    if GATED:
        s = kept_scales(state, image, images, cols, col_in, wide, squeezed, norm_weight, norm_bias)
        if HAS_BRANCH_SCALE:
            s *= tl.load(branch_scale + image).to(tl.float32)
    base = image.to(tl.int64) * positions
    acc = tl.zeros((BLOCK_P, BLOCK_E), tl.float32)
    end = tl.minimum((part + 1) * rows_of_part, positions)
    for start in range(part * rows_of_part, end, BLOCK_P):
        rows = start + tl.arange(0, BLOCK_P)
        mask = (rows < end)[:, None] & col_in[None, :]
        at = (base + rows)[:, None] * wide + cols[None, :]
        _, slope = gelu_with_slope(tl.load(h + at, mask=mask, other=0.0).to(tl.float32), EXACT)
        value = tl.load(dt + at, mask=mask, other=0.0).to(tl.float32)
        if GATED:
            value *= s[None, :]
        value = tl.where(mask, (value + shift[None, :]) * slope, 0.0)
        tl.store(d_h + at, value.to(d_h.dtype.element_ty), mask=mask)
        acc += value
    at = tl.program_id(0).to(tl.int64) * wide + cols
    tl.store(sums + at, tl.sum(acc, 0), mask=col_in)
