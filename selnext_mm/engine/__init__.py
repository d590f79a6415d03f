"""Pieces for mmengine's runner: registered on import."""

from .amp import AutoAmpOptimWrapper
from .layer_decay import LayerDecayOptimWrapperConstructor
from .runner import ConciseRunner

__all__ = ['AutoAmpOptimWrapper', 'ConciseRunner', 'LayerDecayOptimWrapperConstructor']
