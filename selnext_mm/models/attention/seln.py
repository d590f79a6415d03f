"""Squeeze-and-excitation with layer normalisation in place of the sigmoid (SELN)."""

import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.framework import MODELS
from selnext_mm.ops.seln_block.equations import GATE_NORM_EPS

from .base import TwoLayerAttention


@MODELS.register_module()
class SELN(TwoLayerAttention):
    """Rescale each channel by the layer-normalised output of a squeeze-and-excitation branch.

    ``y = x * LN(W2 relu(W1 mean_hw(x) + b1) + b2)`` with ``W1`` of shape (R, C), ``W2`` of
    shape (C, R) and ``R = C // reduction``. Unlike SE there is no sigmoid: the gate is signed
    and unbounded. LN runs over the C channels (biased variance, eps 1e-5, affine).

    The gate is computed in float32 (float64 for float64 input) whatever the input's precision
    and the autocast state; the product has the input's dtype.

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Source: "A Latency-Efficient Integration of Channel Attention for ConvNets", eq. 6 and 7.
    The equations have no biases; the authors' code has them in both layers, and so does this one.

    Args:
        in_channels: number of channels C.
        reduction: ratio between C and the hidden width R, rounded down.
        data_format: where the channels are, one of ``DATA_FORMATS``.
        divisor: R is a multiple of it (see ``squeeze_width``); 8 in MobileNetV3.

    Raises:
        ValueError: for an unknown ``data_format``, a ``reduction`` outside 1..C, or a
            ``divisor`` under 1.
    """

    def __init__(
        self,
        in_channels: int,
        reduction: int = 16,
        data_format: str = 'channels_last',
        divisor: int = 1,
    ) -> None:
        super().__init__(in_channels, reduction, data_format, divisor)
        self.norm = nn.LayerNorm(in_channels, eps=GATE_NORM_EPS)

    def activate(self, s: Tensor) -> Tensor:
        norm = self.norm
        weight, bias = norm.weight.to(s.dtype), norm.bias.to(s.dtype)
        return F.layer_norm(s, norm.normalized_shape, weight, bias, norm.eps)
