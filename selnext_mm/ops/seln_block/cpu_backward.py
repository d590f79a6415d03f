"""The gradient of the SELNeXt block from its input, ``y`` and the means; the rest is recomputed.

``h = W1 y + b1`` is kept for small maps and recomputed for large ones.

With ``g`` the gradient of the output (P positions, C channels, one image), ``V = diag(gamma) W2``
and ``B = g^T u`` (C, E), all gradients that involve the gate follow from ``B``:

    ds = sum_c V * B,   dW2 = gamma * (B diag(s)),   dgamma = sum_e W2 * (B diag(s)) + b2 * sum_p g
    du = g (V diag(s)) + dmean / P,   dh = du * gelu'(h),   dW1 = dh^T y,   dy = dh W1

so for images with many positions (``gate_goes_into_w2``) the gate needs no pass over (P, E). For
others ``s * u`` is computed. A few images are processed at a time, so that buffers of size (P, E)
stay in the cache.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..depthwise_grad import depthwise_backward
from ..gelu_linear import linear
from .equations import BlockWeights, gate_goes_into_w2, images_of, rows_of

# Three buffers of this size are in use at a time.
CHUNK_BYTES = 3 * 2**20


class _Gate:
    """The gate of all images, recomputed from the means, and its gradient image by image."""

    def __init__(self, means: Tensor, w: BlockWeights, eps: float) -> None:
        self.w, self.means = w, means
        self.hidden = F.relu(F.linear(means, w.fc1_weight, w.fc1_bias))
        self.raw = F.linear(self.hidden, w.fc2_weight, w.fc2_bias)
        self.shape = list(self.raw.shape[1:])
        self.scales, self.mu, self.rstd = torch.native_layer_norm(
            self.raw, self.shape, w.gate_weight, w.gate_bias, eps
        )
        self.d_scales = torch.empty_like(means)
        self.d_raw = torch.empty_like(means)
        self.d_hidden = torch.empty_like(self.hidden)

    def _norm_backward(self, where: slice, mask: list[bool]) -> tuple[Tensor, ...]:
        return torch.ops.aten.native_layer_norm_backward(
            *(self.d_scales[where], self.raw[where], self.shape),
            *(self.mu[where], self.rstd[where], self.w.gate_weight, self.w.gate_bias, mask),
        )

    def backward(self, where: slice, d_scales: Tensor) -> Tensor:
        """The gradient of the means of the images ``where``."""
        self.d_scales[where] = d_scales
        self.d_raw[where] = self._norm_backward(where, [True, False, False])[0]
        d_hidden = self.d_raw[where] @ self.w.fc2_weight
        self.d_hidden[where] = d_hidden.masked_fill_(self.hidden[where] <= 0, 0)
        return d_hidden @ self.w.fc1_weight

    def weight_gradients(self) -> tuple[Tensor, ...]:
        """Gradients of fc1, fc2 and the norm, weight and bias each; call it after all images."""
        _, d_weight, d_bias = self._norm_backward(slice(None), [False, True, True])
        return (
            *(self.d_hidden.t() @ self.means, self.d_hidden.sum(0)),
            *(self.d_raw.t() @ self.hidden, self.d_raw.sum(0)),
            *(d_weight, d_bias),
        )


def gated_mlp_backward(
    grad: Tensor,
    y: Tensor,
    means: Tensor,
    w: BlockWeights,
    eps: float,
    scale: float = 1.0,
    hidden: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Gradient of ``y`` and of all weights after the depth-wise ones, in their order.

    ``grad`` and ``y`` are rows (N, P, C), ``means``, ``scale`` and ``hidden`` as in the forward
    pass.
    """
    n, positions, channels = y.shape
    wide = len(w.b1)
    factor = w.gamma * scale
    v = w.w2 * factor[:, None]
    gate = _Gate(means, w, eps)
    d_y, d_w1, d_b1 = torch.empty_like(y), torch.zeros_like(w.w1), torch.zeros_like(w.b1)
    gated_outer = torch.zeros_like(v)  # sum over images of B diag(s)
    into_w2 = gate_goes_into_w2(positions, channels)
    image_bytes = max(1, positions * wide * y.element_size())
    images = 1 if into_w2 else min(max(1, CHUNK_BYTES // image_bytes), max(n, 1))
    buffer = y.new_empty((images * positions, wide))
    for i in range(0, n, images):
        where = slice(i, min(i + images, n))
        rows = (where.stop - i) * positions
        u = buffer[:rows]
        y_rows, g_rows = y[where].flatten(0, 1), grad[where].flatten(0, 1)
        scales = gate.scales[where]
        if hidden is None:
            h = linear(y_rows, w.w1, w.b1)
        else:
            h = hidden[where].flatten(0, 1)
        torch._C._nn.gelu(h, out=u)
        if into_w2:
            outer = g_rows.t() @ u
            d_mean = gate.backward(where, (v * outer).sum(0, keepdim=True))
            gated_outer.addcmul_(outer, scales)
            d_u = linear(g_rows, (v * scales).t(), d_mean.div_(positions)[0])
        else:
            d_u = linear(g_rows, v.t())
            per_image = d_u.view(-1, positions, wide)
            u = u.view_as(per_image)
            d_mean = gate.backward(where, (u * per_image).sum(1)).div_(positions)
            gated_outer.addmm_(g_rows.t(), u.mul_(scales[:, None]).flatten(0, 1))
            torch.addcmul(d_mean[:, None], per_image, scales[:, None], out=per_image)
        d_h = torch.ops.aten.gelu_backward.grad_input(d_u, h, grad_input=d_u)
        d_w1.addmm_(d_h.t(), y_rows)
        d_b1 += d_h.sum(0)
        d_y[where] = linear(d_h, w.w1.t()).view_as(y[where])
    total = grad.sum((0, 1)) * scale
    d_gamma = (w.w2 * gated_outer).sum(1).mul_(scale).addcmul_(w.b2, total)
    d_w2 = gated_outer.mul_(factor[:, None])
    return d_y, (d_w1, d_b1, *gate.weight_gradients(), d_w2, w.gamma * total, d_gamma)


def block_backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    means: Tensor,
    hidden: Tensor | None,
    w: BlockWeights,
    eps: float,
    scale: float,
) -> list[Tensor]:
    """Gradients of ``x``, without the residual's part, and of all weights.

    ``grad``, ``x`` and ``y`` are (N, C, H, W), the other arguments as for
    :func:`gated_mlp_backward`.
    """
    grad = grad.contiguous(memory_format=torch.channels_last)
    d_y, d_weights = gated_mlp_backward(rows_of(grad), rows_of(y), means, w, eps, scale, hidden)
    d_x, d_weight = depthwise_backward(images_of(d_y, x), x, w.dw_weight)
    return [d_x, d_weight, d_y.sum((0, 1)), *d_weights]
