"""Backbones for classification and detection.

Not here: attention modules (``models/attention/``), a fused block's kernels (``ops/``), training
without labels (``models/selfsup/``).
"""

from selnext_mm.models.lazy import BACKBONES, load

from .fasternet import FasterNet
from .mobilenet_v3 import AttentionMobileNetV3
from .patnet import PATNet
from .selnext import SELNeXt

__all__ = ['AttentionMobileNetV3', 'FasterNet', 'PATNet', 'SELNeXt']


def __getattr__(name: str) -> type:
    if name in BACKBONES:
        return load(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
