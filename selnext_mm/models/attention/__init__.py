"""Attention modules, one per file; each takes ``in_channels`` first."""

from .eca import EfficientChannelAttention
from .grn import GlobalResponseNorm
from .na import NAModule
from .se import SqueezeExcitation
from .seln import SELN

__all__ = [
    'SELN',
    'EfficientChannelAttention',
    'GlobalResponseNorm',
    'NAModule',
    'SqueezeExcitation',
]
