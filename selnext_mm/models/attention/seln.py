"""Squeeze-and-excitation with layer normalisation in place of the sigmoid (SELN)."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

# PyTorch's default; the norms around it in SELNeXt use 1e-6, and unifying them changes the model.
GATE_NORM_EPS = 1e-5
DATA_FORMATS = ('channels_last', 'channels_first')


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


@MODELS.register_module()
class SELN(nn.Module):
    """Rescale each channel by the layer-normalised output of a squeeze-and-excitation branch.

    ``y = x * LN(W2 relu(W1 mean_hw(x) + b1) + b2)`` with ``W1`` of shape (R, C), ``W2`` of
    shape (C, R) and ``R = C // reduction``. Unlike SE there is no sigmoid: the gate is signed
    and unbounded. LN runs over the C channels (biased variance, eps 1e-5, affine).

    The gate is computed in float32 (float64 for float64 input) whatever the input's precision
    and the autocast state; the product has the input's dtype.

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Source: "A Latency-Efficient Integration of Channel Attention for ConvNets", eq. 6 and 7.
    The equations print no biases; the authors' code has them in both layers, and so have we.

    Args:
        in_channels: number of channels C.
        reduction: ratio between C and the hidden width R, rounded down.
        data_format: where the channels are, one of ``DATA_FORMATS``.

    Raises:
        ValueError: for an unknown ``data_format``, or a ``reduction`` outside 1..C.
    """

    def __init__(
        self, in_channels: int, reduction: int = 16, data_format: str = 'channels_last'
    ) -> None:
        super().__init__()
        if data_format not in DATA_FORMATS:
            raise ValueError(f'data_format={data_format!r}; expected one of {DATA_FORMATS}')
        if not 1 <= reduction <= in_channels:
            raise ValueError(
                f'reduction={reduction!r} with in_channels={in_channels}; expected 1..{in_channels}'
            )
        hidden = int(in_channels // reduction)
        self.in_channels = in_channels
        self.reduction = reduction
        self.data_format = data_format
        self.fc1 = nn.Linear(in_channels, hidden)
        self.fc2 = nn.Linear(hidden, in_channels)
        self.norm = nn.LayerNorm(in_channels, eps=GATE_NORM_EPS)

    def gate(self, mean: Tensor) -> Tensor:
        """Scales (N, C) for spatial means (N, C), in the dtype of ``mean``."""
        device = mean.device.type
        # Shape inference on the meta device knows no autocast.
        with nullcontext() if device == 'meta' else torch.autocast(device, enabled=False):
            s = _linear(self.fc2, F.relu(_linear(self.fc1, mean)))
            norm = self.norm
            weight, bias = norm.weight.to(s.dtype), norm.bias.to(s.dtype)
            return F.layer_norm(s, norm.normalized_shape, weight, bias, norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        spatial = (1, 2) if self.data_format == 'channels_last' else (2, 3)
        # Half precision overflows in the sum over H * W, hence the wider accumulator.
        mean = x.mean(spatial, dtype=torch.promote_types(x.dtype, torch.float32))
        gate = self.gate(mean).to(x.dtype)
        if self.data_format == 'channels_last':
            return x * gate[:, None, None, :]
        return x * gate[:, :, None, None]

    def extra_repr(self) -> str:
        return f'{self.in_channels}, reduction={self.reduction}, data_format={self.data_format!r}'
