"""The gate of the block in Triton, forward: means, two small layers, norm.

For its gradient it leaves one float32 buffer, ``state``: the raw scales (images, E), the means
(images, E), the hidden layer (images, R), and the statistics of the norm of the raw scales, mean
and 1 / standard deviation (images, 2). Products are computed in full float32.
"""

import triton
import triton.language as tl


@triton.jit
def _sum_of_parts(
    sums, n, n_in, e, e_in, parts, wide, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr
):
    """The sum over the parts of (images, parts, E), with eight loads in flight at a time."""
    total = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
    base = n.to(tl.int64)[:, None] * parts * wide + e[None, :]
    for first in range(0, parts, 8):
        for step in tl.static_range(8):
            part = first + step
            mask = n_in[:, None] & (e_in & (part < parts))[None, :]
            total += tl.load(sums + (base + part * wide), mask=mask, other=0.0)
    return total


@triton.jit(do_not_specialize=['images', 'parts', 'positions'])
def excite_kernel(
    sums, w1, state, hidden_parts, images, parts, positions, wide, squeezed,
    SPLIT: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``mean = sum(sums) / positions`` and the product of the gate's first layer.

    The product is in parts of ``SPLIT`` channels each, ``hidden_parts`` (E / SPLIT, images, R).
    """
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    r = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    n_in, r_in = n < images, r < squeezed
    mean = state + images.to(tl.int64) * wide
    acc = tl.zeros((BLOCK_N, BLOCK_R), tl.float32)
    first = tl.program_id(2) * SPLIT
    for start in range(first, tl.minimum(first + SPLIT, wide), BLOCK_E):
        e = start + tl.arange(0, BLOCK_E)
        e_in = e < wide
        total = _sum_of_parts(sums, n, n_in, e, e_in, parts, wide, BLOCK_N, BLOCK_E) / positions
        if tl.program_id(1) == 0:
            mask = n_in[:, None] & e_in[None, :]
            tl.store(mean + n[:, None] * wide + e[None, :], total, mask=mask)
        weight = tl.load(
            w1 + r[None, :] * wide + e[:, None], mask=e_in[:, None] & r_in[None, :], other=0.0
        )
        acc = tl.dot(total, weight.to(tl.float32), acc, input_precision='ieee')
    at = (tl.program_id(2) * images + n)[:, None] * squeezed + r[None, :]
    tl.store(hidden_parts + at, acc, mask=n_in[:, None] & r_in[None, :])


@triton.jit(do_not_specialize=['images'])
def raw_scales_kernel(
    hidden_parts, b1, w2, b2, state, images, squeezed, wide,
    SPLITS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``hidden = relu(sum(hidden_parts) + b1)`` and ``raw = W2 hidden + b2`` of the gate."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    e = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    n_in, e_in = n < images, e < wide
    hidden = state + 2 * images.to(tl.int64) * wide
    acc = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
    for start in range(0, squeezed, BLOCK_R):
        r = start + tl.arange(0, BLOCK_R)
        r_in = r < squeezed
        mask = n_in[:, None] & r_in[None, :]
        at = n[:, None] * squeezed + r[None, :]
        value = tl.zeros((BLOCK_N, BLOCK_R), tl.float32)
        for split in tl.static_range(SPLITS):
            value += tl.load(hidden_parts + (at + split * images * squeezed), mask=mask, other=0.0)
        value += tl.load(b1 + r, mask=r_in, other=0.0).to(tl.float32)[None, :]
        value = tl.where(mask, tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL), 0.0)
        if tl.program_id(1) == 0:
            tl.store(hidden + at, value, mask=mask)
        weight = tl.load(
            w2 + e[None, :] * squeezed + r[:, None], mask=r_in[:, None] & e_in[None, :], other=0.0
        )
        acc = tl.dot(value, weight.to(tl.float32), acc, input_precision='ieee')
    acc += tl.load(b2 + e, mask=e_in, other=0.0).to(tl.float32)[None, :]
    tl.store(state + n[:, None] * wide + e[None, :], acc, mask=n_in[:, None] & e_in[None, :])


@triton.jit
def statistics_of(state, images, wide, squeezed):
    return state + images.to(tl.int64) * (2 * wide + squeezed)


@triton.jit
def _row_statistics(state, image, images, wide, squeezed, eps, store, BLOCK: tl.constexpr):
    """Mean and 1 / standard deviation of the raw scales of one image; saved if ``store``."""
    e = tl.arange(0, BLOCK)
    value = tl.load(state + image * wide + e, mask=e < wide, other=0.0)
    mu = tl.sum(value, 0) / wide
    centred = tl.where(e < wide, value - mu, 0.0)
    rstd = 1.0 / tl.sqrt_rn(tl.sum(centred * centred, 0) / wide + eps)
    if store:
        statistics = statistics_of(state, images, wide, squeezed)
        tl.store(statistics + 2 * image, mu)
        tl.store(statistics + 2 * image + 1, rstd)
    return mu, rstd


@triton.jit
def _normalised(state, image, cols, mask, wide, mu, rstd, norm_weight, norm_bias):
    """The gate's scales of one image."""
    s = (tl.load(state + image * wide + cols, mask=mask, other=0.0) - mu) * rstd
    s = s * tl.load(norm_weight + cols, mask=mask, other=0.0).to(tl.float32)
    return s + tl.load(norm_bias + cols, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def new_scales(
    state, image, images, cols, mask, wide, squeezed, norm_weight, norm_bias, eps, store,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The gate's scales of one image; the norm's statistics are saved if ``store``."""
    mu, rstd = _row_statistics(state, image, images, wide, squeezed, eps, store, BLOCK)
    return _normalised(state, image, cols, mask, wide, mu, rstd, norm_weight, norm_bias)


@triton.jit
def kept_scales(state, image, images, cols, mask, wide, squeezed, norm_weight, norm_bias):
    """The gate's scales of one image, with the statistics that the forward pass has saved."""
    statistics = statistics_of(state, images, wide, squeezed)
    mu, rstd = tl.load(statistics + 2 * image), tl.load(statistics + 2 * image + 1)
    return _normalised(state, image, cols, mask, wide, mu, rstd, norm_weight, norm_bias)


@triton.jit(do_not_specialize=['images'])
def scale_weight_kernel(
    state, norm_weight, norm_bias, w2, factor, branch_scale, scaled,
    images, channels, wide, squeezed, eps,
    HAS_FACTOR: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``scaled[n, c, e] = branch_scale[n] factor[c] W2[c, e] s[n, e]``, s = LN(raw)."""
    image = tl.program_id(0)
    first = tl.program_id(1) == 0
    e = tl.arange(0, BLOCK)
    e_in = e < wide
    s = new_scales(
        state, image, images, e, e_in, wide, squeezed, norm_weight, norm_bias, eps, first, BLOCK
    )
    if HAS_BRANCH_SCALE:
        s = s * tl.load(branch_scale + image).to(tl.float32)
    for i in range(0, BLOCK_C):
        c = tl.program_id(1) * BLOCK_C + i
        mask = e_in & (c < channels)
        row = tl.load(w2 + c * wide + e, mask=mask, other=0.0).to(tl.float32) * s
        if HAS_FACTOR:
            row = row * tl.load(factor + c, mask=c < channels, other=0.0).to(tl.float32)
        at = (image.to(tl.int64) * channels + c) * wide + e
        tl.store(scaled + at, row.to(scaled.dtype.element_ty), mask=mask)
