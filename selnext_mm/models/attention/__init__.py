"""Attention modules, one per file; each takes ``in_channels`` first."""

from .cbam import CBAM
from .channel_gates import MeanStdGate, SqueezeExciteGate
from .eca import EfficientChannelAttention
from .grn import GlobalResponseNorm
from .na import NAModule
from .partial import (
    PartialChannelAttention,
    PartialConv,
    PartialSelfAttention,
    PartialSpatialAttention,
)
from .se import SqueezeExcitation
from .seln import SELN

__all__ = [
    'CBAM',
    'SELN',
    'EfficientChannelAttention',
    'GlobalResponseNorm',
    'MeanStdGate',
    'NAModule',
    'PartialChannelAttention',
    'PartialConv',
    'PartialSelfAttention',
    'PartialSpatialAttention',
    'SqueezeExcitation',
    'SqueezeExciteGate',
]
