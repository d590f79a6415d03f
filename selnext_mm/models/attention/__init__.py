"""Attention modules, one per file; each takes ``in_channels`` first."""

from .channel_gates import MeanStdGate, SqueezeExciteGate
from .partial import (
    PartialChannelAttention,
    PartialConv,
    PartialSelfAttention,
    PartialSpatialAttention,
)
from .seln import SELN

__all__ = [
    'SELN',
    'MeanStdGate',
    'PartialChannelAttention',
    'PartialConv',
    'PartialSelfAttention',
    'PartialSpatialAttention',
    'SqueezeExciteGate',
]
