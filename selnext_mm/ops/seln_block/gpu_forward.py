"""The block's forward pass on a GPU: cuBLAS for the products, a few Triton kernels for the rest.

    y = dwconv(x)                      one kernel, each value of x loaded once per tile
    u = gelu(W1 y + b1), sums of u     narrow blocks: one kernel; else cuBLAS and one pass in place
    raw = fc2 relu(fc1 mean)           two small kernels
    W2 diag(LN(raw)), then W2 u        where an image has many positions: a small kernel, cuBLAS
    LN(raw) * gelu(h), then W2 u       elsewhere: one pass over h = W1 y + b1, cuBLAS
    out = x + gamma (W2 u + b2)        one memory pass

All maps, ``x`` and the result included, are channels-last and in the dtype of the products; none
is stored in float32 on the way. The gate is float32.
"""

from collections.abc import Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from ..triton_launch import Launcher, are_aligned, current_stream
from .equations import BlockWeights, gate_goes_into_w2, images_of, rows_of
from .triton_depthwise import depthwise_kernel
from .triton_gate import excite_kernel, raw_scales_kernel, scale_weight_kernel
from .triton_maps import expand_kernel, gelu_scale_kernel, gelu_sum_kernel, residual_kernel
from .triton_weights import prepare_kernel

# A pass over a map is cut into about this many programs, which fill any current GPU several times.
PROGRAMS = 2048
# Launch parameters, chosen by a sweep on an H100: docs/performance.md.
BLOCK_P, BLOCK_E = 32, 128
EXPAND = (128, 64, 32)
MAX_EXPANDED_CHANNELS = 256  # above this, cuBLAS and a separate pass beat the single kernel
PREFETCH = False  # of the depth-wise kernel's columns; not yet timed
SPLIT = 256  # channels per part, in the gate's first product

PREPARE = Launcher(prepare_kernel, num_warps=4)
DEPTHWISE = Launcher(depthwise_kernel, num_warps=1)
GELU_SUM = Launcher(gelu_sum_kernel, num_warps=8)
EXPAND_LAUNCH = Launcher(expand_kernel, num_warps=4, num_stages=3)
EXCITE = Launcher(excite_kernel, num_warps=8)
RAW_SCALES = Launcher(raw_scales_kernel, num_warps=4)
SCALE_WEIGHT = Launcher(scale_weight_kernel, num_warps=4)
GELU_SCALE = Launcher(gelu_scale_kernel, num_warps=8)
RESIDUAL = Launcher(residual_kernel, num_warps=4)


class Site(NamedTuple):
    """Sizes of one call of a block, and what its launches have in common."""

    family: Hashable
    stream: int
    images: int
    channels: int
    height: int
    width: int
    wide: int
    squeezed: int

    @property
    def positions(self) -> int:
        return self.height * self.width


def site_of(x: Tensor, w: BlockWeights, dtype: torch.dtype, branch_scale: Tensor | None) -> Site:
    """``x`` is (N, C, H, W), channels-last."""
    wide, squeezed = len(w.b1), len(w.fc1_bias)
    family = (
        *(x.device, w.w1.dtype, dtype, x.shape[1], wide, squeezed),
        None if branch_scale is None else branch_scale.dtype,
        are_aligned(x, branch_scale, *w),
    )
    shape: tuple[int, int, int, int] = x.shape
    return Site(family, current_stream(x.device), *shape, wide, squeezed)


class LowWeights(NamedTuple):
    """The weights as the kernels need them; gradients inside the block are divided by ``unit``."""

    taps: Tensor  # (k * k, C) float32, of the depth-wise layer
    w1: Tensor  # (E, C) in the dtype of the products
    w2: Tensor  # (C, E) likewise
    b1: Tensor  # (E) likewise
    factor: Tensor  # (C): gamma / unit
    unit: Tensor  # one value: max |gamma| in float16, else 1


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def next_power_of_2(value: int) -> int:
    return 1 << max(0, value - 1).bit_length()


_ones: dict[torch.device, Tensor] = {}


def one(device: torch.device) -> Tensor:
    """A tensor with a single 1, made once per device."""
    if device not in _ones:
        with torch.inference_mode(False):
            _ones[device] = torch.ones(1, device=device)
    return _ones[device]


def prepare_weights(w: BlockWeights, dtype: torch.dtype) -> LowWeights:
    """One launch for all casts of a block."""
    channels, kernel, wide = w.dw_weight.shape[0], w.dw_weight.shape[-1], len(w.b1)
    cast, normalise = w.w1.dtype != dtype, dtype == torch.float16
    taps = w.w1.new_empty((kernel * kernel, channels), dtype=torch.float32)
    w1, w2, b1 = w.w1.contiguous(), w.w2.contiguous(), w.b1
    low = [torch.empty_like(t, dtype=dtype) for t in (w1, w2, b1)] if cast else (w1, w2, b1)
    factor = torch.empty_like(w.gamma, dtype=torch.float32) if normalise else w.gamma
    unit = w.gamma.new_empty((1,), dtype=torch.float32) if normalise else one(w.gamma.device)
    block = 4096
    blocks = 2 * cdiv(channels * wide, block) if cast else 0
    family = (w.w1.device, w.w1.dtype, dtype, channels, wide, are_aligned(w1, w2, *w))
    PREPARE(
        *(family, current_stream(w.w1.device), (blocks + channels + normalise, 1, 1)),
        (
            *(cast, normalise, kernel * kernel, next_power_of_2(kernel * kernel)),
            *(next_power_of_2(channels), block),
        ),
        *(w1, w2, b1, w.dw_weight.contiguous(), w.gamma),
        *(*low, taps, factor, unit, channels, wide),
    )
    return LowWeights(taps, low[0], low[1], low[2], factor, unit)


def depthwise_tile(site: Site, backward: bool) -> tuple[int, int, int, int]:
    """Rows, unrolled columns, channels and columns of a tile of the depth-wise kernel."""
    block_c = 64 if site.channels % 64 == 0 else 32
    rows = 2 if backward else 4
    unroll = 2 if site.width > 14 and not (backward and block_c == 64) else 1
    columns = site.width
    others = site.images * cdiv(site.height, rows) * cdiv(site.channels, block_c)
    while columns > 32 and others * cdiv(site.width, columns) < 2 * PROGRAMS:
        columns = cdiv(columns, 2)
    return rows, unroll, block_c, columns


def run_depthwise(
    site: Site,
    x: Tensor,
    taps: Tensor,
    bias: Tensor,
    y: Tensor,
    residual: Tensor | None = None,
    factor: Tensor | None = None,
    branch_scale: Tensor | None = None,
) -> Tensor | None:
    """``y = conv(x) + bias``, or with ``residual`` the gradient: see the kernel.

    Returns the sums (tiles, 2, C) of the gradient.
    """
    backward = residual is not None
    kernel = round(len(taps) ** 0.5)
    rows, unroll, block_c, columns = depthwise_tile(site, backward)
    tiles = site.images * cdiv(site.height, rows) * cdiv(site.width, columns)
    sums = taps.new_empty((tiles, 2, site.channels)) if backward else None
    DEPTHWISE(
        *(site.family, site.stream, (tiles, cdiv(site.channels, block_c), 1)),
        (kernel, backward, branch_scale is not None, rows, unroll, PREFETCH, block_c),
        *(x, taps, bias, residual, factor, branch_scale, y, sums),
        *(site.height, site.width, site.channels, columns),
    )
    return sums


def parts_of(site: Site) -> tuple[int, int]:
    """Number of parts, and positions per part, of each image in a pass over its positions."""
    per_part = max(1, site.images * cdiv(site.wide, BLOCK_E))
    parts = min(cdiv(PROGRAMS, per_part), cdiv(site.positions, BLOCK_P))
    rows = BLOCK_P * cdiv(site.positions, parts * BLOCK_P)
    return cdiv(site.positions, rows), rows


def gelu_and_sums(site: Site, h: Tensor, u: Tensor | None) -> Tensor:
    """Write ``gelu(h)`` into ``u``, if given; return its sums in parts, (N, parts, E)."""
    parts, rows = parts_of(site)
    sums = h.new_empty((site.images, parts, site.wide), dtype=torch.float32)
    GELU_SUM(
        *(site.family, site.stream, (site.images * parts, cdiv(site.wide, BLOCK_E), 1)),
        (u is not None, h.dtype == torch.float32, BLOCK_P, BLOCK_E),
        *(h, h if u is None else u, sums, site.positions, site.wide, parts, rows),
    )
    return sums


def expand(site: Site, y: Tensor, low: LowWeights, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """``u = gelu(h)``, its sums in parts and, with ``keep``, ``h = W1 y + b1``."""
    n, positions, wide = site.images, site.positions, site.wide
    if site.channels <= MAX_EXPANDED_CHANNELS and y.dtype != torch.float32:
        block_p, block_e, _ = EXPAND
        u = y.new_empty((n, positions, wide))
        h = torch.empty_like(u) if keep else u
        parts = cdiv(positions, block_p)
        sums = y.new_empty((n, parts, wide), dtype=torch.float32)
        EXPAND_LAUNCH(
            *(site.family, site.stream, (cdiv(wide, block_e), parts, n), (keep, *EXPAND)),
            *(y, low.w1, low.b1, h, u, sums, positions, site.channels, wide),
        )
        return u, sums, h
    h = torch.addmm(low.b1, y.flatten(0, 1), low.w1.t()).view(n, positions, wide)
    u = torch.empty_like(h) if keep else h
    return u, gelu_and_sums(site, h, u), h


def gate_state(site: Site, sums: Tensor, w: BlockWeights) -> Tensor:
    """The gate up to its norm, from the sums of ``u``; a later kernel fills in the statistics."""
    n, parts, wide = sums.shape
    squeezed, splits = site.squeezed, cdiv(wide, SPLIT)
    state = sums.new_empty(n * (2 * wide + squeezed + 2))
    hidden_parts = sums.new_empty((splits, n, squeezed))
    groups = cdiv(n, 16)
    EXCITE(
        *(site.family, site.stream, (groups, cdiv(squeezed, 16), splits), (SPLIT, 16, 16, 64)),
        *(sums, w.fc1_weight, state, hidden_parts, n, parts, site.positions, wide, squeezed),
    )
    RAW_SCALES(
        *(site.family, site.stream, (groups, cdiv(wide, 64), 1), (splits, 16, 32, 64)),
        *(hidden_parts, w.fc1_bias, w.fc2_weight, w.fc2_bias, state, n, squeezed, wide),
    )
    return state


def scaled_w2(
    site: Site,
    state: Tensor,
    w: BlockWeights,
    eps: float,
    dtype: torch.dtype,
    factor: Tensor | None = None,
    branch_scale: Tensor | None = None,
) -> Tensor:
    """``branch_scale[n] factor[c] W2[c, e] s[n, e]``, (N, C, E)."""
    n, channels, wide, block_c = site.images, site.channels, site.wide, 8
    scaled = state.new_empty((n, channels, wide), dtype=dtype)
    SCALE_WEIGHT(
        *(site.family, site.stream, (n, cdiv(channels, block_c), 1)),
        (factor is not None, branch_scale is not None, next_power_of_2(wide), block_c),
        *(state, w.gate_weight, w.gate_bias, w.w2, factor, branch_scale, scaled),
        *(n, channels, wide, site.squeezed, eps),
    )
    return scaled


def gelu_and_scale(
    site: Site, h: Tensor, u: Tensor, state: Tensor, w: BlockWeights, eps: float
) -> None:
    """``u = s * gelu(h)``."""
    n, wide = site.images, site.wide
    parts, rows = parts_of(site)
    GELU_SCALE(
        *(site.family, site.stream, (n * parts, cdiv(wide, BLOCK_E), 1)),
        (h.dtype == torch.float32, next_power_of_2(wide), BLOCK_P, BLOCK_E),
        *(h, state, w.gate_weight, w.gate_bias, u),
        *(n, site.positions, wide, site.squeezed, parts, rows, eps),
    )


def add_branch(
    site: Site, x: Tensor, product: Tensor, w: BlockWeights, branch_scale: Tensor | None
) -> Tensor:
    """``x + branch_scale gamma (product + b2)`` on rows."""
    out = torch.empty_like(x)
    channels, positions = site.channels, site.positions
    block_c = next((b for b in (128, 64, 32) if channels % b == 0), 32)
    block_p = 4096 // block_c
    RESIDUAL(
        *(
            site.family,
            site.stream,
            (cdiv(positions, block_p), cdiv(channels, block_c), site.images),
        ),
        (branch_scale is not None, block_p, block_c),
        *(x, product, w.b2, w.gamma, branch_scale, out, positions, channels),
    )
    return out


def gpu_forward(
    site: Site,
    x: Tensor,
    w: BlockWeights,
    low: LowWeights,
    eps: float,
    branch_scale: Tensor | None,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Output (N, C, H, W), ``y``, ``h`` (rows; None if it is not kept), and the gate's state.

    ``x`` is channels-last and in the dtype of the products.
    """
    rows = rows_of(x)
    y = torch.empty_like(rows)
    run_depthwise(site, x, low.taps, w.dw_bias, y)
    if gate_goes_into_w2(site.positions, site.channels):
        u, sums, h = expand(site, y, low, keep=False)
        state = gate_state(site, sums, w)
        product = torch.bmm(u, scaled_w2(site, state, w, eps, u.dtype).transpose(1, 2))
        h = None
    else:
        h = torch.addmm(low.b1, y.flatten(0, 1), low.w1.t())
        h = h.view(site.images, site.positions, site.wide)
        state = gate_state(site, gelu_and_sums(site, h, None), w)
        u = torch.empty_like(h) if training else h
        gelu_and_scale(site, h, u, state, w, eps)
        product = torch.mm(u.flatten(0, 1), low.w2.t()).view_as(rows)
    out = add_branch(site, rows, product, w, branch_scale)
    return images_of(out, x), y, h, state
