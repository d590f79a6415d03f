"""The gradient of the block's gate in Triton, in four launches.

``state`` is that of :mod:`.triton_gate`. ``d_state``, in float32 too, contains the gradients of the
scales ``ds``, of the raw scales and of the means, (images, E) each, then that of the hidden layer
in parts, (splits, images, R).
"""

import triton
import triton.language as tl

from .triton_gate import statistics_of


@triton.jit
def scale_gradient_kernel(
    outer, w2, factor, branch_scale, d_scales, channels, wide,
    HAS_BRANCH_SCALE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``ds[n, e] = branch_scale[n] sum_c factor[c] W2[c, e] B[n, c, e]``, ``B = g^T u``."""
    image = tl.program_id(0)
    e = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    e_in = e < wide
    acc = tl.zeros((BLOCK_C, BLOCK_E), tl.float32)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        mask = (c < channels)[:, None] & e_in[None, :]
        at = c[:, None] * wide + e[None, :]
        value = tl.load(w2 + at, mask=mask, other=0.0).to(tl.float32)
        value *= tl.load(factor + c, mask=c < channels, other=0.0).to(tl.float32)[:, None]
        at = (image.to(tl.int64) * channels + c)[:, None] * wide + e[None, :]
        acc += value * tl.load(outer + at, mask=mask, other=0.0).to(tl.float32)
    total = tl.sum(acc, 0)
    if HAS_BRANCH_SCALE:
        total *= tl.load(branch_scale + image).to(tl.float32)
    tl.store(d_scales + image * wide + e, total, mask=e_in)


@triton.jit(do_not_specialize=['images', 'parts'])
def norm_gradient_kernel(
    sums, state, norm_weight, d_state, images, parts, wide, squeezed, BLOCK: tl.constexpr
):
    """Through the gate's norm, an image per program: ``ds``, the sum of ``sums``, and ``d_raw``."""
    image = tl.program_id(0)
    e = tl.arange(0, BLOCK)
    e_in = e < wide
    ds = tl.zeros((BLOCK,), tl.float32)
    base = sums + image.to(tl.int64) * parts * wide + e
    for first in range(0, parts, 8):
        for step in tl.static_range(8):
            part = first + step
            ds += tl.load(base + part * wide, mask=e_in & (part < parts), other=0.0)
    statistics = statistics_of(state, images, wide, squeezed)
    mu, rstd = tl.load(statistics + 2 * image), tl.load(statistics + 2 * image + 1)
    x = tl.where(e_in, (tl.load(state + image * wide + e, mask=e_in, other=0.0) - mu) * rstd, 0.0)
    d = ds * tl.load(norm_weight + e, mask=e_in, other=0.0).to(tl.float32)
    d = (d - tl.sum(d, 0) / wide - x * (tl.sum(d * x, 0) / wide)) * rstd
    tl.store(d_state + image * wide + e, ds, mask=e_in)
    tl.store(d_state + (images.to(tl.int64) + image) * wide + e, d, mask=e_in)


@triton.jit(do_not_specialize=['images'])
def excite_gradient_kernel(
    d_state, w2, images, wide, squeezed,
    SPLIT: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """``d_raw W2``, the gradient of the hidden layer, in parts of ``SPLIT`` channels each."""
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    r = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    n_in, r_in = n < images, r < squeezed
    d_raw = d_state + images.to(tl.int64) * wide
    acc = tl.zeros((BLOCK_N, BLOCK_R), tl.float32)
    first = tl.program_id(2) * SPLIT
    for start in range(first, tl.minimum(first + SPLIT, wide), BLOCK_E):
        e = start + tl.arange(0, BLOCK_E)
        e_in = e < wide
        d = tl.load(
            d_raw + n[:, None] * wide + e[None, :], mask=n_in[:, None] & e_in[None, :], other=0.0
        )
        weight = tl.load(
            w2 + e[:, None] * squeezed + r[None, :], mask=e_in[:, None] & r_in[None, :], other=0.0
        )
        acc = tl.dot(d, weight.to(tl.float32), acc, input_precision='ieee')
    parts = d_state + 3 * images.to(tl.int64) * wide
    at = (tl.program_id(2) * images + n)[:, None] * squeezed + r[None, :]
    tl.store(parts + at, acc, mask=n_in[:, None] & r_in[None, :])


@triton.jit
def _hidden_gradient(
    parts, hidden, n, n_in, r, r_in, images, squeezed,
    SPLITS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """The gate's hidden layer and its gradient, of some images."""
    mask = n_in[:, None] & r_in[None, :]
    at = n[:, None] * squeezed + r[None, :]
    d = tl.zeros((BLOCK_N, BLOCK_R), tl.float32)
    for split in tl.static_range(SPLITS):
        d += tl.load(parts + (at + split * images * squeezed), mask=mask, other=0.0)
    value = tl.load(hidden + at, mask=mask, other=0.0)
    return value, tl.where(value > 0, d, 0.0)


@triton.jit(do_not_specialize=['images'])
def gate_gradients_kernel(
    d_state, state, w1, unit, d_w1, d_b1, d_w2, d_b2, d_norm_weight, d_norm_bias,
    images, wide, squeezed,
    SPLITS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Through the gate's first layer to the means, and the gradients of all weights of the gate.

    The gradient of the means is still divided by ``unit``, those of the weights are not.
    """
    e = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    r = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    e_in, r_in = e < wide, r < squeezed
    first_r, first_e = tl.program_id(1) == 0, tl.program_id(0) == 0
    size = images.to(tl.int64) * wide
    mean, hidden, statistics = state + size, state + 2 * size, state + 2 * size + images * squeezed
    d_raw, d_mean, parts = d_state + size, d_state + 2 * size, d_state + 3 * size
    acc1 = tl.zeros((BLOCK_R, BLOCK_E), tl.float32)
    acc2 = tl.zeros((BLOCK_R, BLOCK_E), tl.float32)
    bias1 = tl.zeros((BLOCK_R,), tl.float32)
    bias2 = tl.zeros((BLOCK_E,), tl.float32)
    norm_weight = tl.zeros((BLOCK_E,), tl.float32)
    norm_bias = tl.zeros((BLOCK_E,), tl.float32)
    for start in range(0, images, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        n_in = n < images
        hid, dh = _hidden_gradient(
            parts, hidden, n, n_in, r, r_in, images, squeezed, SPLITS, BLOCK_N, BLOCK_R
        )
        mask = n_in[:, None] & e_in[None, :]
        at = n[:, None] * wide + e[None, :]
        dr = tl.load(d_raw + at, mask=mask, other=0.0)
        acc1 = tl.dot(
            tl.trans(dh), tl.load(mean + at, mask=mask, other=0.0), acc1, input_precision='ieee'
        )
        acc2 = tl.dot(tl.trans(hid), dr, acc2, input_precision='ieee')
        bias1 += tl.sum(dh, 0)
        if first_r:
            ds = tl.load(d_state + at, mask=mask, other=0.0)
            mu = tl.load(statistics + 2 * n, mask=n_in, other=0.0)
            rstd = tl.load(statistics + 2 * n + 1, mask=n_in, other=0.0)
            x = (tl.load(state + at, mask=mask, other=0.0) - mu[:, None]) * rstd[:, None]
            bias2 += tl.sum(dr, 0)
            norm_weight += tl.sum(ds * x, 0)
            norm_bias += tl.sum(ds, 0)
            through = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
            for k in range(0, squeezed, BLOCK_R):
                rk = k + tl.arange(0, BLOCK_R)
                rk_in = rk < squeezed
                _, part = _hidden_gradient(
                    parts, hidden, n, n_in, rk, rk_in, images, squeezed, SPLITS, BLOCK_N, BLOCK_R
                )
                weight = tl.load(
                    w1 + rk[:, None] * wide + e[None, :],
                    mask=rk_in[:, None] & e_in[None, :], other=0.0,
                )  # fmt: skip
                through = tl.dot(part, weight.to(tl.float32), through, input_precision='ieee')
            tl.store(d_mean + at, through, mask=mask)
    scale = tl.load(unit)
    mask = r_in[:, None] & e_in[None, :]
    tl.store(d_w1 + r[:, None] * wide + e[None, :], acc1 * scale, mask=mask)
    tl.store(d_w2 + e[None, :] * squeezed + r[:, None], acc2 * scale, mask=mask)
    if first_r:
        tl.store(d_b2 + e, bias2 * scale, mask=e_in)
        tl.store(d_norm_weight + e, norm_weight * scale, mask=e_in)
        tl.store(d_norm_bias + e, norm_bias * scale, mask=e_in)
    if first_e:
        tl.store(d_b1 + r, bias1 * scale, mask=r_in)
