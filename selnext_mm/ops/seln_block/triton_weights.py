"""The block's weights prepared for the kernels, and the gradients of the weights, in Triton.

In float16 layer scale (1e-6 at first) folded into a weight would be out of range. There
``gamma = unit * factor`` with ``unit = max |gamma|``: gradients inside the block are divided by
``unit``, and multiplied by it where they leave it in float32. Elsewhere ``unit`` is 1.
"""

import triton
import triton.language as tl

from .triton_gate import kept_scales


@triton.jit
def _cast(source, target, block, elements, BLOCK: tl.constexpr):
    at = block * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(source + at, mask=at < elements, other=0.0)
    tl.store(target + at, value.to(target.dtype.element_ty), mask=at < elements)


@triton.jit
def _transpose(weight, taps, c, channels, KK: tl.constexpr, BLOCK_K: tl.constexpr):
    k = tl.arange(0, BLOCK_K)
    value = tl.load(weight + c * KK + k, mask=k < KK, other=0.0)
    tl.store(taps + k * channels + c, value.to(tl.float32), mask=k < KK)


@triton.jit
def _normalise(gamma, factor, unit, channels, BLOCK: tl.constexpr):
    c = tl.arange(0, BLOCK)
    value = tl.load(gamma + c, mask=c < channels, other=0.0).to(tl.float32)
    largest = tl.max(tl.abs(value), 0)
    tl.store(unit, largest)
    tl.store(factor + c, value / tl.where(largest > 0, largest, 1.0), mask=c < channels)


@triton.jit
def prepare_kernel(
    w1, w2, b1, dw_weight, gamma, w1_low, w2_low, b1_low, taps, factor, unit, channels, wide,
    CAST: tl.constexpr, NORMALISE: tl.constexpr, KK: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_G: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The weights as the other kernels need them, in one launch.

    ``taps`` (KK, C) in float32 from ``dw_weight`` (C, KK); with ``CAST`` the pointwise weights in
    another dtype; with ``NORMALISE`` ``unit = max |gamma|`` and ``factor = gamma / unit``.
    """
    program = tl.program_id(0)
    elements = channels * wide
    blocks = tl.cdiv(elements, BLOCK) if CAST else 0
    if program < blocks:
        _cast(w1, w1_low, program, elements, BLOCK)
        if program == 0:
            for block in range(0, tl.cdiv(wide, BLOCK)):
                _cast(b1, b1_low, block, wide, BLOCK)
    elif program < 2 * blocks:
        _cast(w2, w2_low, program - blocks, elements, BLOCK)
    elif program < 2 * blocks + channels:
        _transpose(dw_weight, taps, program - 2 * blocks, channels, KK, BLOCK_K)
    elif NORMALISE:
        _normalise(gamma, factor, unit, channels, BLOCK_G)


@triton.jit(do_not_specialize=['rows'])
def first_layer_kernel(
    low, sums, unit, d_w1, d_b1, rows, channels, wide,
    BLOCK_S: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``d_w1 = unit * low`` and ``d_b1``, ``unit`` times the sum of the ``rows`` of ``sums``."""
    e = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    e_in = e < wide
    mask = e_in[:, None] & (c < channels)[None, :]
    scale = tl.load(unit)
    at = e[:, None] * channels + c[None, :]
    value = tl.load(low + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(d_w1 + at, value * scale, mask=mask)
    if tl.program_id(1) == 0:
        acc = tl.zeros((BLOCK_S, BLOCK_E), tl.float32)
        for start in range(0, rows, BLOCK_S):
            row = start + tl.arange(0, BLOCK_S)
            here = row.to(tl.int64)[:, None] * wide + e[None, :]
            acc += tl.load(sums + here, mask=(row < rows)[:, None] & e_in[None, :], other=0.0)
        tl.store(d_b1 + e, tl.sum(acc, 0) * scale, mask=e_in)


@triton.jit(do_not_specialize=['images', 'tiles'])
def second_layer_kernel(
    outer, state, norm_weight, norm_bias, branch_scale, w2, b2, gamma, sums, d_taps, unit,
    d_w2, d_b2, d_gamma, d_dw_weight, d_dw_bias, images, channels, wide, squeezed, tiles,
    GATED: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr, KK: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of W2, b2, gamma and of the depth-wise layer, one channel c per program.

    With ``O = g^T (branch_scale s u)``, (C, E), and ``total = sum branch_scale g``:
    ``dW2 = gamma O``, ``dgamma = sum_e W2 O + b2 total``, ``db2 = gamma total``. ``outer`` is O,
    or without ``GATED`` ``B = g^T u`` of each image. ``sums`` is from the depth-wise kernel.
    """
    c = tl.program_id(0)
    e = tl.arange(0, BLOCK)
    e_in = e < wide
    if GATED:
        o = tl.load(outer + c * wide + e, mask=e_in, other=0.0).to(tl.float32)
    else:
        o = tl.zeros((BLOCK,), tl.float32)
        for image in range(0, images):
            s = kept_scales(state, image, images, e, e_in, wide, squeezed, norm_weight, norm_bias)
            if HAS_BRANCH_SCALE:
                s *= tl.load(branch_scale + image).to(tl.float32)
            at = (tl.cast(image, tl.int64) * channels + c) * wide + e
            o += s * tl.load(outer + at, mask=e_in, other=0.0).to(tl.float32)
    acc_y = tl.zeros((BLOCK_T,), tl.float32)
    acc_g = tl.zeros((BLOCK_T,), tl.float32)
    for start in range(0, tiles, BLOCK_T):
        tile = start + tl.arange(0, BLOCK_T)
        at = tile.to(tl.int64) * 2 * channels + c
        acc_y += tl.load(sums + at, mask=tile < tiles, other=0.0)
        acc_g += tl.load(sums + at + channels, mask=tile < tiles, other=0.0)
    total = tl.sum(acc_g, 0)
    scale = tl.load(gamma + c).to(tl.float32)
    weight = tl.load(w2 + c * wide + e, mask=e_in, other=0.0).to(tl.float32)
    tl.store(d_w2 + c * wide + e, o * scale, mask=e_in)
    tl.store(d_b2 + c, total * scale)
    shift = tl.load(b2 + c).to(tl.float32)
    tl.store(d_gamma + c, tl.sum(weight * o, 0) + shift * total)
    back = tl.load(unit)
    k = tl.arange(0, BLOCK_K)
    d = tl.load(d_taps + c * KK + k, mask=k < KK, other=0.0).to(tl.float32)
    tl.store(d_dw_weight + c * KK + k, d * back, mask=k < KK)
    tl.store(d_dw_bias + c, tl.sum(acc_y, 0) * back)
