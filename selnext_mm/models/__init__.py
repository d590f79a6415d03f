"""Attention modules, backbones, necks and masked pretraining; importing them registers every class.

With mmengine they go to its root registry, otherwise to that of :mod:`selnext_mm.framework`.

Not here: heads and whole models, which are mmdet's and mmpretrain's; fused operations (``ops/``).
"""

from . import attention, backbones, lazy, necks
from .backbones import AttentionMobileNetV3, FasterNet, PATNet, SELNeXt
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

lazy.register()


def __getattr__(name: str) -> type:
    """``NAResNet``, ``NAMobileNetV2`` and ``FCMAE``, which need mmdet or mmpretrain."""
    if name in lazy.LAZY:
        return lazy.load(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
