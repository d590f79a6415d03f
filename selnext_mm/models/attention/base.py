"""What the channel attentions share: data formats, the wide mean, the gate in float32."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.ops.capabilities import without_autocast

DATA_FORMATS = ('channels_last', 'channels_first')


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """``layer(x)`` in the dtype of ``x``, whatever the dtype of the layer."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def make_divisible(width: float, divisor: int = 8) -> int:
    """``width`` rounded to a multiple of ``divisor`` (half up), but not below 90 % of ``width``."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * width else rounded + divisor


def squeeze_width(in_channels: int, reduction: int, divisor: int = 1) -> int:
    """``in_channels // reduction`` made divisible by ``divisor``.

    120 channels with reduction 4 give 30, and with divisor 8 MobileNetV3's 32.
    """
    return make_divisible(in_channels // reduction, divisor)


class ChannelAttention(nn.Module, ABC):
    """``y = x * gate(mean_hw(x))``, one scale per channel; subclasses define the gate.

    The gate is ``activate(excite(mean))``: ``excite`` maps the spatial means (N, C) to raw
    scales (N, C), ``activate`` bounds or normalises them. Both run in float32 (float64 for
    float64 input) whatever the input's precision and the autocast state; the product has the
    input's dtype.

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Raises:
        ValueError: for an unknown ``data_format``.
    """

    # Whether :meth:`squeeze` takes the mean over the width, then that over the height. onnxruntime
    # is ten times as fast so if its optimiser makes the map channels-last.
    in_steps = False

    def __init__(self, in_channels: int, data_format: str = 'channels_last') -> None:
        super().__init__()
        if data_format not in DATA_FORMATS:
            raise ValueError(f'data_format={data_format!r}; expected one of {DATA_FORMATS}')
        self.in_channels = in_channels
        self.data_format = data_format

    @property
    def spatial(self) -> tuple[int, int]:
        """The indices of the height and width dimensions."""
        return (1, 2) if self.data_format == 'channels_last' else (2, 3)

    def expand(self, scales: Tensor) -> Tensor:
        """Reshape (N, C), or (C) for one row, so that it broadcasts against the input."""
        if self.data_format == 'channels_last':
            return scales[..., None, None, :]
        return scales[..., :, None, None]

    def squeeze(self, x: Tensor) -> Tensor:
        """Spatial means (N, C) of the input, in float32 or wider."""
        # Half precision overflows in the sum over H * W, hence the wider accumulator.
        dtype = torch.promote_types(x.dtype, torch.float32)
        if self.in_steps:
            height, width = self.spatial
            return x.mean(width, dtype=dtype).mean(height)
        return x.mean(self.spatial, dtype=dtype)

    def squeeze_visible(self, x: Tensor, visible: Tensor) -> Tensor:
        """:meth:`squeeze` over the positions where ``visible`` is 1, not 0.

        ``visible`` has the shape of ``x`` with one channel; each sample has a visible position.
        """
        share = visible.mean(self.spatial, dtype=torch.promote_types(x.dtype, torch.float32))
        return self.squeeze(x * visible) / share

    @abstractmethod
    def excite(self, mean: Tensor) -> Tensor:
        """Raw scales (N, C) from what :meth:`squeeze` returns."""

    @abstractmethod
    def activate(self, s: Tensor) -> Tensor:
        """Scales (N, C) from the raw ones."""

    def gate(self, mean: Tensor) -> Tensor:
        """Scales (N, C) for spatial means (N, C), in the dtype of ``mean``."""
        with without_autocast(mean.device.type):
            return self.activate(self.excite(mean))

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        g = self.squeeze(x) if visible is None else self.squeeze_visible(x, visible)
        return x * self.expand(self.gate(g).to(x.dtype))

    def extra_repr(self) -> str:
        return f'{self.in_channels}, data_format={self.data_format!r}'


class NormAttention(ChannelAttention):
    """Channel attention on the L2 norms of the channels over height and width, not the means."""

    def squeeze(self, x: Tensor) -> Tensor:
        """L2 norms (N, C) over height and width, in float32 or wider."""
        return torch.linalg.vector_norm(
            x, dim=self.spatial, dtype=torch.promote_types(x.dtype, torch.float32)
        )

    def squeeze_visible(self, x: Tensor, visible: Tensor) -> Tensor:
        return self.squeeze(x * visible)


class TwoLayerAttention(ChannelAttention):
    """Channel attention with ``excite(g) = W2 relu(W1 g + b1) + b2``.

    ``W1`` has the shape (R, C) and ``W2`` (C, R), R being :func:`squeeze_width`.

    Args:
        in_channels: number of channels C.
        reduction: ratio between C and the hidden width R.
        data_format: where the channels are, one of ``DATA_FORMATS``.
        divisor: R is a multiple of it; 8 in MobileNetV3.

    Raises:
        ValueError: for a ``reduction`` outside 1..C or a ``divisor`` under 1.
    """

    def __init__(
        self,
        in_channels: int,
        reduction: int = 16,
        data_format: str = 'channels_last',
        divisor: int = 1,
    ) -> None:
        super().__init__(in_channels, data_format)
        if not 1 <= reduction <= in_channels:
            raise ValueError(
                f'reduction={reduction!r} with in_channels={in_channels}; expected 1..{in_channels}'
            )
        if divisor < 1:
            raise ValueError(f'divisor={divisor!r}; expected 1 or more')
        hidden = squeeze_width(in_channels, int(reduction), divisor)
        self.reduction = reduction
        self.fc1 = nn.Linear(in_channels, hidden)
        self.fc2 = nn.Linear(hidden, in_channels)

    def excite(self, mean: Tensor) -> Tensor:
        return linear(self.fc2, F.relu(linear(self.fc1, mean)))

    def extra_repr(self) -> str:
        return f'{self.in_channels}, reduction={self.reduction}, data_format={self.data_format!r}'
