"""Backbones for classification and detection.

Not here: attention modules (``models/attention/``), a fused block's kernels (``ops/``).
"""

from . import lazy
from .fasternet import FasterNet
from .mobilenet_v3 import AttentionMobileNetV3
from .patnet import PATNet
from .selnext import SELNeXt

__all__ = ['AttentionMobileNetV3', 'FasterNet', 'PATNet', 'SELNeXt']

lazy.register()


def __getattr__(name: str) -> type:
    if name in lazy.LAZY:
        return lazy.load(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
