"""Pieces for mmengine's runner: registered on import."""

from .amp import AutoAmpOptimWrapper
from .batch_resize import BatchResizeHook
from .faster_coco import FasterCocoMetric
from .layer_decay import LayerDecayOptimWrapperConstructor
from .runner import ConciseRunner
from .unreadable import GuardedLoad, UnreadableImagesHook

__all__ = [
    'AutoAmpOptimWrapper',
    'BatchResizeHook',
    'ConciseRunner',
    'FasterCocoMetric',
    'GuardedLoad',
    'LayerDecayOptimWrapperConstructor',
    'UnreadableImagesHook',
]
