"""Attention modules, backbones and necks; importing them registers every class.

With mmengine that is its root registry, with torch alone the one of :mod:`selnext_mm.framework`.

Not here: heads and whole models, which are mmdet's and mmpretrain's; fused operations (``ops/``).
"""

from . import attention, backbones, necks
from .backbones import AttentionMobileNetV3, FasterNet, PATNet, SELNeXt, lazy
from .necks import PooledProjection

__all__ = [
    'AttentionMobileNetV3',
    'FasterNet',
    'PATNet',
    'PooledProjection',
    'SELNeXt',
    'attention',
    'backbones',
    'necks',
]


def __getattr__(name: str) -> type:
    """``NAResNet`` and ``NAMobileNetV2``, which need mmdet and mmpretrain."""
    if name in lazy.LAZY:
        return lazy.load(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
