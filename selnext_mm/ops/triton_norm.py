"""Triton kernels of layer normalisation over the channels of a channels-last map.

The result and its gradient may be in patches: with ``PATCH`` 2 the four positions of each 2 x 2
window stand side by side, (N, H // 2, W // 2, 2, 2, C). As a matrix this is the input of a 2 x 2
convolution with stride 2. Rows and columns that such a convolution leaves out get no result and a
gradient of 0.
"""

import triton
import triton.language as tl


@triton.jit
def _patch_row(row, height, width, PATCH: tl.constexpr):
    """The index of position ``row`` of (N, H, W) in patches, and whether it is in one at all."""
    if PATCH == 1:
        return row, row >= 0
    column, line = row % width, row // width
    image, line = line // height, line % height
    rows, columns = height // PATCH, width // PATCH
    patch = (image * rows + line // PATCH) * columns + column // PATCH
    inside = (line < rows * PATCH) & (column < columns * PATCH)
    return patch * (PATCH * PATCH) + (line % PATCH) * PATCH + column % PATCH, inside


@triton.jit(do_not_specialize=['rows', 'height', 'width'])
def channel_norm_kernel(
    x, weight, bias, out, statistics, rows, height, width, channels, eps,
    PATCH: tl.constexpr, KEEP: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias`` of rows (rows, C), in float32.

    With ``KEEP`` mean and 1 / standard deviation go to ``statistics`` (rows, 2).
    """
    row = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.arange(0, BLOCK_C)
    row_in, c_in = row < rows, c < channels
    mask = row_in[:, None] & c_in[None, :]
    at = row.to(tl.int64)[:, None] * channels + c[None, :]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(value, 1) / channels
    centred = tl.where(mask, value - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt_rn(tl.sum(centred * centred, 1) / channels + eps)
    scale = tl.load(weight + c, mask=c_in, other=0.0).to(tl.float32)
    shift = tl.load(bias + c, mask=c_in, other=0.0).to(tl.float32)
    result = centred * rstd[:, None] * scale[None, :] + shift[None, :]
    target, inside = _patch_row(row, height, width, PATCH)
    at = target.to(tl.int64)[:, None] * channels + c[None, :]
    tl.store(out + at, result.to(out.dtype.element_ty), mask=mask & inside[:, None])
    if KEEP:
        tl.store(statistics + 2 * row, mean, mask=row_in)
        tl.store(statistics + 2 * row + 1, rstd, mask=row_in)


@triton.jit(do_not_specialize=['rows', 'height', 'width', 'rows_of_program'])
def channel_norm_gradient_kernel(
    grad, x, weight, statistics, d_x, sums, rows, height, width, channels, rows_of_program,
    PATCH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The gradient of ``x``, and parts of those of weight and bias in ``sums`` (programs, 2, C)."""
    c = tl.arange(0, BLOCK_C)
    c_in = c < channels
    scale = tl.load(weight + c, mask=c_in, other=0.0).to(tl.float32)
    d_weight = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    d_bias = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    first = tl.program_id(0) * rows_of_program
    last = tl.minimum(first + rows_of_program, rows)
    for start in range(first, last, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)
        row_in = row < last
        mask = row_in[:, None] & c_in[None, :]
        at = row.to(tl.int64)[:, None] * channels + c[None, :]
        mean = tl.load(statistics + 2 * row, mask=row_in, other=0.0)
        rstd = tl.load(statistics + 2 * row + 1, mask=row_in, other=0.0)
        value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
        value = tl.where(mask, (value - mean[:, None]) * rstd[:, None], 0.0)
        source, inside = _patch_row(row, height, width, PATCH)
        here = source.to(tl.int64)[:, None] * channels + c[None, :]
        g = tl.load(grad + here, mask=mask & inside[:, None], other=0.0).to(tl.float32)
        d_weight += g * value
        d_bias += g
        g = g * scale[None, :]
        mean_g, mean_gx = tl.sum(g, 1) / channels, tl.sum(g * value, 1) / channels
        g = (g - mean_g[:, None] - value * mean_gx[:, None]) * rstd[:, None]
        tl.store(d_x + at, g.to(d_x.dtype.element_ty), mask=mask)
    at = tl.program_id(0).to(tl.int64) * 2 * channels + c
    tl.store(sums + at, tl.sum(d_weight, 0), mask=c_in)
    tl.store(sums + at + channels, tl.sum(d_bias, 0), mask=c_in)
