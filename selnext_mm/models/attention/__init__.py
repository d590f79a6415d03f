"""Attention modules, one per file; each takes ``in_channels`` first.

Not here: the blocks that use them (``models/backbones/``), fused operations (``ops/``).
"""

from selnext_mm.models.attention.cbam import CBAM
from selnext_mm.models.attention.eca import EfficientChannelAttention
from selnext_mm.models.attention.gather_excite import GatherExcite
from selnext_mm.models.attention.gct import GatedChannelTransformation
from selnext_mm.models.attention.grn import GlobalResponseNorm
from selnext_mm.models.attention.na import NAModule
from selnext_mm.models.attention.partial import (
    PartialChannelAttention,
    PartialConv,
    PartialSelfAttention,
    PartialSpatialAttention,
)
from selnext_mm.models.attention.patnet_gates import MeanStdGate, SqueezeExciteGate
from selnext_mm.models.attention.se import SqueezeExcitation
from selnext_mm.models.attention.selective_kernel import SelectiveKernel
from selnext_mm.models.attention.seln import SELN

__all__ = [
    'CBAM',
    'SELN',
    'EfficientChannelAttention',
    'GatedChannelTransformation',
    'GatherExcite',
    'GlobalResponseNorm',
    'MeanStdGate',
    'NAModule',
    'PartialChannelAttention',
    'PartialConv',
    'PartialSelfAttention',
    'PartialSpatialAttention',
    'SelectiveKernel',
    'SqueezeExcitation',
    'SqueezeExciteGate',
]
