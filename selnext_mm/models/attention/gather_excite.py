"""Gather-excite (GE): a gate per channel and region, gathered by a mean or by convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.framework import MODELS


@MODELS.register_module()
class GatherExcite(nn.Module):
    """``y = x * sigmoid(enlarge(gather(x)))``.

    Without parameters ``gather`` is the mean over the whole map, or over windows of
    ``2 * extent - 1`` positions with stride ``extent``, not counting the padding. With ``learned``
    it is log2(extent) depth-wise 3x3 convolutions of stride 2 without bias, a batch norm after
    each and a ReLU in between. ``enlarge`` is nearest-neighbour upsampling.

    Shapes: (N, C, H, W) -> (N, C, H, W).

    Source: "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks", layers as
    in timm's ``GatherExcite``. The NA paper compares with it (Table 1): its parameter counts match
    the global mean in ResNet-50 and ``extent=8, learned=True`` in MobileNetV2.

    Args:
        in_channels: number of channels C.
        extent: a power of 2, or None for the whole map.
        learned: gather by convolutions; needs an ``extent``.

    Raises:
        ValueError: for any other ``extent``, or ``learned`` without one.
    """

    _abbr_ = 'ge'

    def __init__(self, in_channels: int, extent: int | None = None, learned: bool = False) -> None:
        super().__init__()
        if extent is not None and (extent < 2 or extent & (extent - 1)):
            raise ValueError(f'extent={extent!r}; expected a power of 2, or None for the whole map')
        if learned and extent is None:
            raise ValueError('learned=True needs an extent, e.g. 8: three convolutions of stride 2')
        self.extent = extent
        self.gather_layers = nn.Sequential()
        for i in range(extent.bit_length() - 1 if learned and extent else 0):
            if i:
                self.gather_layers.append(nn.ReLU(inplace=True))
            conv = nn.Conv2d(
                in_channels, in_channels, 3, 2, padding=1, groups=in_channels, bias=False
            )
            self.gather_layers.extend([conv, nn.BatchNorm2d(in_channels)])

    def gather(self, x: Tensor) -> Tensor:
        """The context (N, C, h, w), one value for each region."""
        if len(self.gather_layers):
            return self.gather_layers(x)
        if self.extent is None:
            return x.mean((2, 3), keepdim=True)
        window = 2 * self.extent - 1
        return F.avg_pool2d(x, window, self.extent, window // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        context = self.gather(x)
        if context.shape[2:] != (1, 1):
            context = F.interpolate(context, x.shape[2:])
        return x * torch.sigmoid(context)
