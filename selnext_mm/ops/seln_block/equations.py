"""The SELNeXt block as in the paper, its parameters, and the two layouts of its maps.

out = x + gamma * (W2 (s * u) + b2),   u = gelu(W1 y + b1),   y = dwconv(x),   s = gate(mean u)
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# PyTorch's default. Other norms in SELNeXt use 1e-6; using one value for all changes the model.
GATE_NORM_EPS = 1e-5


class BlockWeights(NamedTuple):
    """Parameters of a block: C channels, E expanded channels, R in the gate's hidden layer."""

    dw_weight: Tensor  # (C, 1, k, k)
    dw_bias: Tensor
    w1: Tensor  # (E, C)
    b1: Tensor
    fc1_weight: Tensor  # (R, E)
    fc1_bias: Tensor
    fc2_weight: Tensor  # (E, R)
    fc2_bias: Tensor
    gate_weight: Tensor  # (E), of the gate's norm
    gate_bias: Tensor
    w2: Tensor  # (C, E)
    b2: Tensor
    gamma: Tensor  # (C)

    def cast(self, dtype: torch.dtype) -> 'BlockWeights':
        """The depth-wise and the first layer in ``dtype``, the gate and the rest in float32."""
        low = {name: getattr(self, name).to(dtype) for name in ('dw_weight', 'dw_bias', 'w1', 'b1')}
        return self._replace(**{k: v.float() for k, v in self._asdict().items()} | low)


def seln_gate(mean: Tensor, w: BlockWeights, eps: float) -> Tensor:
    """Scales (N, E) of the channels from their spatial means (N, E)."""
    hidden = F.relu(F.linear(mean, w.fc1_weight, w.fc1_bias))
    scales = F.linear(hidden, w.fc2_weight, w.fc2_bias)
    return F.layer_norm(scales, scales.shape[-1:], w.gate_weight, w.gate_bias, eps)


def block_reference(
    x: Tensor, w: BlockWeights, eps: float, branch_scale: Tensor | None = None
) -> Tensor:
    """The block as in the paper: (N, C, H, W) -> (N, C, H, W)."""
    y = F.conv2d(x, w.dw_weight, w.dw_bias, padding=w.dw_weight.shape[-1] // 2, groups=x.shape[1])
    u = F.gelu(F.linear(y.permute(0, 2, 3, 1), w.w1, w.b1))
    u = u * seln_gate(u.mean((1, 2)), w, eps)[:, None, None]
    branch = (w.gamma * F.linear(u, w.w2, w.b2)).permute(0, 3, 1, 2)
    return x + (branch if branch_scale is None else branch * branch_scale.view(-1, 1, 1, 1))


def rows_of(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N, H * W, C): a view if ``x`` is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def images_of(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of :func:`rows_of`: a channels-last view with the shape of ``like``."""
    n, _, height, width = like.shape
    return rows.view(n, height, width, rows.shape[-1]).permute(0, 3, 1, 2)


def gate_goes_into_w2(positions: int, channels: int) -> bool:
    """Whether, for one image, scaling W2 (4 C^2 values) is cheaper than scaling ``u`` (4 C P)."""
    return positions > 2 * channels
