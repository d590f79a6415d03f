"""The block's backward pass on a GPU, from ``x``, ``y``, the gate's state and for small maps ``h``.

The equations are those of :mod:`.cpu_backward`. cuBLAS computes the products, cuDNN the gradient of
the depth-wise weights, and Triton kernels the rest. ``dt`` is the gradient of ``s * u``.
"""

import torch
from torch import Tensor

from ..triton_launch import Launcher
from .equations import BlockWeights, gate_goes_into_w2, images_of, rows_of
from .gpu_forward import (
    BLOCK_E,
    BLOCK_P,
    LowWeights,
    Site,
    cdiv,
    expand,
    next_power_of_2,
    parts_of,
    run_depthwise,
    scaled_w2,
)
from .triton_gate_gradient import (
    excite_gradient_kernel,
    gate_gradients_kernel,
    norm_gradient_kernel,
    scale_gradient_kernel,
)
from .triton_maps import gated_sum_kernel, gelu_gradient_kernel
from .triton_weights import first_layer_kernel, second_layer_kernel

SPLIT = 512  # channels per part, in the gradient of the gate's hidden layer

SCALE_GRADIENT = Launcher(scale_gradient_kernel, num_warps=4)
GATED_SUM = Launcher(gated_sum_kernel, num_warps=8)
NORM_GRADIENT = Launcher(norm_gradient_kernel, num_warps=8)
EXCITE_GRADIENT = Launcher(excite_gradient_kernel, num_warps=4)
GATE_GRADIENTS = Launcher(gate_gradients_kernel, num_warps=8)
GELU_GRADIENT = Launcher(gelu_gradient_kernel, num_warps=8)
FIRST_LAYER = Launcher(first_layer_kernel, num_warps=4)
SECOND_LAYER = Launcher(second_layer_kernel, num_warps=8)


def _scale_gradient(
    site: Site, outer: Tensor, w: BlockWeights, factor: Tensor, branch_scale: Tensor | None
) -> Tensor:
    """ds in one part, (N, 1, E), from ``B = g^T u`` (N, C, E)."""
    n, channels, wide = outer.shape
    sums = outer.new_empty((n, 1, wide), dtype=torch.float32)
    SCALE_GRADIENT(
        *(site.family, site.stream, (n, cdiv(wide, 64), 1), (branch_scale is not None, 32, 64)),
        *(outer, w.w2, factor, branch_scale, sums, channels, wide),
    )
    return sums


def _gated_and_sums(
    site: Site,
    h: Tensor,
    dt: Tensor,
    state: Tensor,
    w: BlockWeights,
    branch_scale: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """``branch_scale s u`` and ds in parts."""
    n, wide = site.images, site.wide
    parts, rows = parts_of(site)
    gated, sums = torch.empty_like(h), state.new_empty((n, parts, wide))
    GATED_SUM(
        *(site.family, site.stream, (n * parts, cdiv(wide, BLOCK_E), 1)),
        (h.dtype == torch.float32, branch_scale is not None, BLOCK_P, BLOCK_E),
        *(h, dt, state, w.gate_weight, w.gate_bias, branch_scale, gated, sums),
        *(n, site.positions, wide, site.squeezed, parts, rows),
    )
    return gated, sums


def _gate_backward(
    site: Site, sums: Tensor, state: Tensor, w: BlockWeights, unit: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The buffer with the gradients inside the gate, and the gradients of its weights in order."""
    n, parts, wide = sums.shape
    squeezed, splits, groups = site.squeezed, cdiv(wide, SPLIT), cdiv(n, 16)
    d_state = state.new_empty(n * (3 * wide + splits * squeezed))
    NORM_GRADIENT(
        *(site.family, site.stream, (n, 1, 1), (next_power_of_2(wide),)),
        *(sums, state, w.gate_weight, d_state, n, parts, wide, squeezed),
    )
    EXCITE_GRADIENT(
        *(site.family, site.stream, (groups, cdiv(squeezed, 16), splits), (SPLIT, 16, 16, 64)),
        *(d_state, w.fc2_weight, n, wide, squeezed),
    )
    weights = (w.fc1_weight, w.fc1_bias, w.fc2_weight, w.fc2_bias, w.gate_weight, w.gate_bias)
    gradients = tuple(state.new_empty(t.shape) for t in weights)
    GATE_GRADIENTS(
        *(site.family, site.stream, (cdiv(wide, 32), cdiv(squeezed, 32), 1)),
        (splits, 16, 32, 32),
        *(d_state, state, w.fc1_weight, unit, *gradients, n, wide, squeezed),
    )
    return d_state, gradients


def _through_gelu(
    site: Site,
    h: Tensor,
    dt: Tensor,
    d_state: Tensor,
    state: Tensor,
    w: BlockWeights,
    branch_scale: Tensor | None,
    gated: bool,
) -> Tensor:
    """Turn ``dt`` into the gradient of ``h``; returns its sums (N * parts, E)."""
    n, wide = site.images, site.wide
    parts, rows = parts_of(site)
    sums = state.new_empty((n * parts, wide))
    GELU_GRADIENT(
        *(site.family, site.stream, (n * parts, cdiv(wide, BLOCK_E), 1)),
        (gated, branch_scale is not None, h.dtype == torch.float32, BLOCK_P, BLOCK_E),
        *(h, dt, d_state, state, w.gate_weight, w.gate_bias, branch_scale, dt, sums),
        *(n, site.positions, wide, site.squeezed, parts, rows),
    )
    return sums


def _depthwise_weight_gradient(d_y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    channels, _, kernel, _ = weight.shape
    _, d_weight, _ = torch.ops.aten.convolution_backward(
        *(d_y, x, x.new_empty(weight.shape), [channels], [1, 1], [kernel // 2] * 2),
        *([1, 1], False, [0, 0], channels, [False, True, False]),
    )
    return d_weight.contiguous()


def gpu_backward(
    site: Site,
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    h: Tensor | None,
    state: Tensor,
    w: BlockWeights,
    low: LowWeights,
    eps: float,
    branch_scale: Tensor | None,
) -> list[Tensor]:
    """Gradients of ``x``, in its dtype, and of all weights, in their order, in float32.

    ``grad`` is channels-last, (N, C, H, W), ``y`` and ``h`` are rows.
    """
    channels, wide = site.channels, site.wide
    g, y_rows = rows_of(grad), y.flatten(0, 1)
    into_w2 = gate_goes_into_w2(site.positions, channels)
    if into_w2:
        u, _, h = expand(site, y, low, keep=True)
        outer = torch.bmm(g.transpose(1, 2), u)
        del u
        sums = _scale_gradient(site, outer, w, low.factor, branch_scale)
        dt = torch.bmm(g, scaled_w2(site, state, w, eps, g.dtype, low.factor, branch_scale))
    else:
        g_rows = g.flatten(0, 1)
        v = torch.mul(low.w2, low.factor[:, None], out=torch.empty_like(low.w2))
        dt = torch.mm(g_rows, v).view_as(h)
        gated, sums = _gated_and_sums(site, h, dt, state, w, branch_scale)
        outer = torch.mm(g_rows.t(), gated.flatten(0, 1))
        del gated
    d_state, d_gate = _gate_backward(site, sums, state, w, low.unit)
    sums = _through_gelu(site, h, dt, d_state, state, w, branch_scale, gated=not into_w2)
    d_h = dt.flatten(0, 1)
    d_w1_low = torch.mm(d_h.t(), y_rows)
    d_y = images_of(torch.mm(d_h, low.w1).view_as(y), x)
    del h, dt, d_h
    d_x = torch.empty_like(x)
    tile_sums = run_depthwise(site, d_y, low.taps, w.dw_bias, d_x, grad, low.unit, branch_scale)
    d_taps = _depthwise_weight_gradient(d_y, x, w.dw_weight)
    d_w1, d_b1 = state.new_empty(w.w1.shape), state.new_empty(wide)
    FIRST_LAYER(
        *(site.family, site.stream, (cdiv(wide, 16), cdiv(channels, 64), 1), (64, 16, 64)),
        *(d_w1_low, sums, low.unit, d_w1, d_b1, len(sums), channels, wide),
    )
    others = (w.w2, w.b2, w.gamma, w.dw_weight, w.dw_bias)
    d_w2, d_b2, d_gamma, d_dw, d_dw_bias = (state.new_empty(t.shape) for t in others)
    taps = w.dw_weight.shape[-1] ** 2
    SECOND_LAYER(
        *(site.family, site.stream, (channels, 1, 1)),
        (
            *(not into_w2, branch_scale is not None, taps, next_power_of_2(taps)),
            *(128, next_power_of_2(wide)),
        ),
        *(outer, state, w.gate_weight, w.gate_bias, branch_scale),
        *(w.w2, w.b2, w.gamma, tile_sums, d_taps, low.unit),
        *(d_w2, d_b2, d_gamma, d_dw, d_dw_bias),
        *(site.images, channels, wide, site.squeezed, len(tile_sums)),
    )
    return [d_x, d_dw, d_dw_bias, d_w1, d_b1, *d_gate, d_w2, d_b2, d_gamma]
