"""Gated channel transformation (GCT): channels compete through their normalised L2 norms."""

import torch
from torch import Tensor, nn

from selnext_mm.framework import MODELS

from .base import NormAttention

EPS = 1e-5


@MODELS.register_module()
class GatedChannelTransformation(NormAttention):
    """Rescale each channel by ``1 + tanh`` of its normalised, weighted L2 norm.

    ``y_c = x_c * (1 + tanh(gamma_c * n_c + beta_c))`` with ``s_c = alpha_c * ||x_c||`` and
    ``n_c = s_c / sqrt(mean_c s^2)``, the L2 norm over H and W; 1e-5 is added under both roots.
    At init alpha is 1, gamma and beta are 0 (one each per channel): the module is the identity. The
    scale, between 0 and 2, is computed in float32 (float64 for float64 input).

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Source: "A Latency-Efficient Integration of Channel Attention for ConvNets", eq. 2, which calls
    the normalisation LRN. What it leaves open (the constants and their places) is as in "Gated
    Channel Transformation for Visual Recognition".

    Args:
        in_channels: number of channels C.
        data_format: where the channels are, one of ``DATA_FORMATS``.

    Raises:
        ValueError: for an unknown ``data_format``.
    """

    def __init__(self, in_channels: int, data_format: str = 'channels_last') -> None:
        super().__init__(in_channels, data_format)
        self.alpha = nn.Parameter(torch.ones(in_channels))
        self.gamma = nn.Parameter(torch.zeros(in_channels))
        self.beta = nn.Parameter(torch.zeros(in_channels))

    def excite(self, norms: Tensor) -> Tensor:
        s = self.alpha.to(norms.dtype) * torch.sqrt(norms**2 + EPS)
        return s / torch.sqrt((s**2).mean(1, keepdim=True) + EPS)

    def activate(self, s: Tensor) -> Tensor:
        return 1 + torch.tanh(self.gamma.to(s.dtype) * s + self.beta.to(s.dtype))
