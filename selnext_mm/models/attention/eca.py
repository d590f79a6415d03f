"""Efficient channel attention (ECA): one small convolution over the channel means."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.framework import MODELS

from .base import ChannelAttention


def eca_kernel_size(channels: int, gamma: float = 2, beta: float = 1) -> int:
    """``floor((log2(channels) + beta) / gamma)``, rounded up to an odd number, at least 3."""
    size = int(abs((math.log2(channels) + beta) / gamma))
    return max(size | 1, 3)


@MODELS.register_module()
class EfficientChannelAttention(ChannelAttention):
    """Rescale each channel by the sigmoid of a convolution over neighbouring channels' means.

    ``y = x * sigmoid(conv1d_k(mean_hw(x)))``: one kernel of k weights for all channels, zero
    padding, no bias; computed in float32 as in :class:`SELN`.

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Source: "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks".

    Args:
        in_channels: number of channels C.
        data_format: where the channels are, one of ``DATA_FORMATS``.
        kernel_size: k, odd; None means :func:`eca_kernel_size` of C.

    Raises:
        ValueError: for an unknown ``data_format`` or an even or negative ``kernel_size``.
    """

    def __init__(
        self,
        in_channels: int,
        data_format: str = 'channels_last',
        kernel_size: int | None = None,
    ) -> None:
        super().__init__(in_channels, data_format)
        kernel_size = eca_kernel_size(in_channels) if kernel_size is None else kernel_size
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f'kernel_size={kernel_size!r}; expected an odd number, 1 or more')
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def excite(self, mean: Tensor) -> Tensor:
        weight = self.conv.weight.to(mean.dtype)
        return F.conv1d(mean[:, None], weight, padding=self.conv.padding[0])[:, 0]

    def activate(self, s: Tensor) -> Tensor:
        return torch.sigmoid(s)
