"""The SELNeXt block for training on any device: little is kept, the rest is recomputed.

Plain torch operations on the whole batch. The input and ``y = dwconv(x)`` are kept for the
backward pass in the dtype of the products, as are the means: 2 C values per position. For small
maps it also keeps ``h = W1 y + b1``, 6 C in all; for large maps it computes ``h`` again. The layers
of ConvNeXt's block keep 12 C and more. The equations of the gradient are those of
:mod:`.cpu_backward`.

In float16, layer scale (1e-6 at first) folded into a weight would be out of range. There it is
applied in float32, as in the layers, and the product that it scales is kept: C more values.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..capabilities import without_autocast
from ..depthwise_grad import depthwise_backward
from .cpu_forward import depthwise
from .equations import BlockWeights, gate_goes_into_w2, images_of, rows_of, seln_gate

GATE = ('fc1_weight', 'fc1_bias', 'fc2_weight', 'fc2_bias', 'gate_weight', 'gate_bias')


def _gated_product(u: Tensor, scales: Tensor, w: BlockWeights) -> Tensor:
    """``W2 (s * u)`` on rows (N, P, E)."""
    if gate_goes_into_w2(u.shape[1], len(w.w2)):
        return torch.bmm(u, (w.w2 * scales[:, None]).to(u.dtype).transpose(1, 2))
    return F.linear(u * scales.to(u.dtype)[:, None], w.w2.to(u.dtype))


class _RecomputingBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, eps, branch_scale, dtype, *weights):
        with without_autocast(x.device.type):
            w = BlockWeights(*weights).cast(dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            chosen = x.to(dtype)
            y = depthwise(chosen, w)
            h = F.linear(rows_of(y), w.w1, w.b1)
            u = F.gelu(h)
            if gate_goes_into_w2(h.shape[1], len(w.gamma)):
                h = None
            means = u.mean(1, dtype=torch.float32)
            product = _gated_product(u, seln_gate(means, w, eps), w)
            branch = images_of((product + w.b2) * w.gamma, x)
            product = product if dtype == torch.float16 else None
            ctx.save_for_backward(chosen, y, h, product, means, branch_scale, *weights)
            ctx.eps = eps
            return x + (branch if branch_scale is None else branch * branch_scale.view(-1, 1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, y, h, product, means, branch_scale, *weights = ctx.saved_tensors
        with without_autocast(grad.device.type):
            branch_grad = grad if branch_scale is None else grad * branch_scale.view(-1, 1, 1, 1)
            d_x, *d_weights = _branch_backward(
                branch_grad, x, y, h, product, means, BlockWeights(*weights), ctx.eps
            )
            return grad + d_x, None, None, None, *d_weights


def _branch_backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    h: Tensor | None,
    product: Tensor | None,
    means: Tensor,
    weights: BlockWeights,
    eps: float,
) -> list[Tensor]:
    """Gradients of the branch: of ``x`` and of all weights, in their order."""
    w, dtype = weights.cast(y.dtype), y.dtype
    rows = rows_of(y)
    exact = rows_of(grad.contiguous(memory_format=torch.channels_last)).float()
    total = exact.sum((0, 1))
    if product is None:
        g, v = exact.to(dtype), w.w2 * w.gamma[:, None]
    else:
        d_gamma = (exact * (product + w.b2)).sum((0, 1))
        g, v = (exact * w.gamma).to(dtype), w.w2
    del exact, product
    inputs = [t.detach().requires_grad_() for t in (means, *(getattr(w, name) for name in GATE))]
    with torch.enable_grad():
        gate = seln_gate(inputs[0], w._replace(**dict(zip(GATE, inputs[1:], strict=True))), eps)
    scales = gate.detach()
    into_w2 = h is None
    if into_w2:
        h = F.linear(rows, w.w1, w.b1)
    u = F.gelu(h)
    if into_w2:
        outer = torch.bmm(g.transpose(1, 2), u).float()
        d_scales = (v * outer).sum(1)
        gated_outer = (outer * scales[:, None]).sum(0)
        d_u = torch.bmm(g, (v * scales[:, None]).to(dtype))
    else:
        d_u = g @ v.to(dtype)
        d_scales = (u * d_u).sum(1, dtype=torch.float32)
        gated = (u * scales.to(dtype)[:, None]).flatten(0, 1)
        gated_outer = (g.flatten(0, 1).t() @ gated).float()
        d_u *= scales.to(dtype)[:, None]
        del gated
    d_means, *d_gate = torch.autograd.grad(gate, inputs, d_scales)
    d_u += (d_means / rows.shape[1]).to(dtype)[:, None]
    d_h = torch.ops.aten.gelu_backward(d_u, h).flatten(0, 1)
    del h, u, d_u
    d_y = (d_h @ w.w1).view_as(rows)
    d_x, d_dw = depthwise_backward(images_of(d_y, x), x, w.dw_weight)
    d_w2 = gated_outer
    if v is not w.w2:
        d_gamma = (w.w2 * gated_outer).sum(1) + w.b2 * total
        d_w2 = gated_outer * w.gamma[:, None]
    gradients = (
        *(d_x, d_dw, d_y.sum((0, 1), dtype=torch.float32)),
        *(d_h.t() @ rows.flatten(0, 1), d_h.sum(0, dtype=torch.float32)),
        *(*d_gate, d_w2, w.gamma * total, d_gamma),
    )
    return [gradient.float() for gradient in gradients]


def recompute_block(
    x: Tensor, w: BlockWeights, eps: float, branch_scale: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The block with its gradient, (N, C, H, W) -> (N, C, H, W).

    Args:
        x: the input.
        w: the parameters, in float32; all but ``gamma`` need a gradient.
        eps: of the gate's norm.
        branch_scale: (N), the factor of each image's branch, or None.
        dtype: of the products; the gate, the sum and all gradients of weights are float32.
    """
    return _RecomputingBlock.apply(x, eps, branch_scale, dtype, *w)
