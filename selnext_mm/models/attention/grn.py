"""Global response normalisation (GRN) of ConvNeXt V2."""

import torch
from torch import Tensor, nn

from selnext_mm.framework import MODELS

from .base import NormAttention

EPS = 1e-6


@MODELS.register_module()
class GlobalResponseNorm(NormAttention):
    """Rescale each channel by its share of the energy of all channels, plus the input.

    ``y = gamma * (x * n) + beta + x`` with ``n_c = ||x_c|| / (mean_c ||x_c|| + 1e-6)``, the L2
    norm over H and W; gamma and beta have one value per channel and are 0 at init. The scale
    ``1 + gamma * n`` is computed in float32 (float64 for float64 input).

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Source: "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", as in its
    code and in mmpretrain's ``GRN``, whose name is already taken in the registry.

    Args:
        in_channels: number of channels C.
        data_format: where the channels are, one of ``DATA_FORMATS``.

    Raises:
        ValueError: for an unknown ``data_format``.
    """

    def __init__(self, in_channels: int, data_format: str = 'channels_last') -> None:
        super().__init__(in_channels, data_format)
        self.gamma = nn.Parameter(torch.zeros(in_channels))
        self.beta = nn.Parameter(torch.zeros(in_channels))

    def excite(self, norms: Tensor) -> Tensor:
        return norms / (norms.mean(1, keepdim=True) + EPS)

    def activate(self, s: Tensor) -> Tensor:
        return 1 + self.gamma.to(s.dtype) * s

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        return super().forward(x, visible) + self.expand(self.beta.to(x.dtype))
