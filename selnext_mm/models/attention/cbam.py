"""Convolutional block attention (CBAM): a channel gate, then a gate on the positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.framework import MODELS
from selnext_mm.ops.capabilities import without_autocast

from .base import TwoLayerAttention

KERNEL = 7
NORM_MOMENTUM = 0.01  # as in the published code; torch's default is 0.1


@MODELS.register_module()
class CBAM(TwoLayerAttention):
    """Rescale the channels by their means and maxima, then the positions likewise.

    With ``mlp(g) = W2 relu(W1 g + b1) + b2``, ``W1`` of shape (R, C)::

        u = x * sigmoid(mlp(mean_hw(x)) + mlp(max_hw(x)))
        y = u * sigmoid(BN(conv7x7([max_c(u), mean_c(u)])))

    The convolution has no bias and pads with zeros. Parameters: as SE with biases, plus 98 in the
    convolution and 2 in the norm. Both gates are computed in float32 (float64 for float64 input)
    under autocast; the norm in the precision of its parameters.

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Source: "CBAM: Convolutional Block Attention Module", equations 2 and 3; the norm is only in
    its code. Set ``data_format='channels_first'`` for a plugin of mmdet's ResNet and for the
    ``attention_cfg`` of NAResNet and NAMobileNetV2.

    Args:
        in_channels: number of channels C.
        reduction: ratio between C and the hidden width R.
        data_format: where the channels are, one of ``DATA_FORMATS``.
        divisor: R is a multiple of it (see ``squeeze_width``).

    Raises:
        ValueError: for an unknown ``data_format``, a ``reduction`` outside 1..C, or a
            ``divisor`` under 1.
    """

    # mmcv names a plugin after this: layer1.0.cbam.fc1.weight
    _abbr_ = 'cbam'

    def __init__(
        self,
        in_channels: int,
        reduction: int = 16,
        data_format: str = 'channels_last',
        divisor: int = 1,
    ) -> None:
        super().__init__(in_channels, reduction, data_format, divisor)
        self.conv = nn.Conv2d(2, 1, KERNEL, padding=KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=NORM_MOMENTUM)

    def squeeze(self, x: Tensor) -> Tensor:
        """Means and maxima (N, 2, C) over height and width, in float32 or wider."""
        mean = super().squeeze(x)
        return torch.stack((mean, x.amax(self.spatial).to(mean.dtype)), 1)

    def excite(self, mean: Tensor) -> Tensor:
        return super().excite(mean).sum(1)

    def activate(self, s: Tensor) -> Tensor:
        return torch.sigmoid(s)

    def position_gate(self, x: Tensor) -> Tensor:
        """Scales (N, H, W) of the positions of ``x``."""
        channels = 3 if self.data_format == 'channels_last' else 1
        mean = x.mean(channels, dtype=torch.promote_types(x.dtype, torch.float32))
        maps = torch.stack((x.amax(channels).to(mean.dtype), mean), 1)
        with without_autocast(x.device.type):
            z = F.conv2d(maps, self.conv.weight.to(maps.dtype), padding=KERNEL // 2)
            return torch.sigmoid(self.norm(z.to(self.norm.weight.dtype))).squeeze(1)

    # Takes no ``visible``: the second gate is a convolution over all positions.
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        x = super().forward(x)
        channels = 3 if self.data_format == 'channels_last' else 1
        return x * self.position_gate(x).unsqueeze(channels).to(x.dtype)
