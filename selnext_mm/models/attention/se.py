"""Squeeze-and-excitation (SE) with a choice of gates."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selnext_mm.framework import MODELS

from .base import TwoLayerAttention

GATES = {
    'sigmoid': torch.sigmoid,
    # F.hardsigmoid's backward multiplies by a float32 1/6 even in float64.
    'hard-sigmoid': lambda s: F.relu6(s + 3) / 6,
    'tanh': torch.tanh,
    'identity': lambda s: s,
}


@MODELS.register_module()
class SqueezeExcitation(TwoLayerAttention):
    """Rescale each channel by the bounded output of a squeeze-and-excitation branch.

    ``y = x * gate(W2 relu(W1 mean_hw(x) + b1) + b2)`` with ``W1`` of shape (R, C), ``W2`` of
    shape (C, R). The gate is ``sigmoid(s)``, ``hard-sigmoid``: ``clip(s + 3, 0, 6) / 6``,
    ``tanh(s)`` or ``identity``: ``s``; computed in float32 as in :class:`SELN`.

    Shapes: (N, H, W, C) for ``data_format='channels_last'``, (N, C, H, W) for
    ``'channels_first'``; output as input.

    Source: "Squeeze-and-Excitation Networks"; hard-sigmoid, divisor 8 and reduction 4 are
    MobileNetV3's; tanh and identity are rows of Table 6 of "A Latency-Efficient Integration of
    Channel Attention for ConvNets".

    Args:
        in_channels: number of channels C.
        reduction: ratio between C and the hidden width R.
        data_format: where the channels are, one of ``DATA_FORMATS``.
        divisor: R is a multiple of it (see ``squeeze_width``); 8 in MobileNetV3.
        gate: one of ``GATES``.

    Raises:
        ValueError: for an unknown ``gate`` or ``data_format``, a ``reduction`` outside 1..C, or
            a ``divisor`` under 1.
    """

    def __init__(
        self,
        in_channels: int,
        reduction: int = 16,
        data_format: str = 'channels_last',
        divisor: int = 1,
        gate: str = 'sigmoid',
    ) -> None:
        super().__init__(in_channels, reduction, data_format, divisor)
        if gate not in GATES:
            raise ValueError(f'gate={gate!r}; expected one of {tuple(GATES)}')
        self.gate_name = gate

    def activate(self, s: Tensor) -> Tensor:
        return GATES[self.gate_name](s)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, gate={self.gate_name!r}'
