"""Pieces for mmengine's runner: registered on import."""

from .amp import AutoAmpOptimWrapper
from .banner import BannerHook
from .batch_resize import BatchResizeHook
from .faster_coco import FasterCocoMetric
from .layer_decay import LayerDecayOptimWrapperConstructor
from .progress import ConciseLogProcessor, ProgressBarHook
from .runner import ConciseRunner
from .unreadable import GuardedLoad, UnreadableImagesHook

__all__ = [
    'AutoAmpOptimWrapper',
    'BannerHook',
    'BatchResizeHook',
    'ConciseLogProcessor',
    'ConciseRunner',
    'FasterCocoMetric',
    'GuardedLoad',
    'LayerDecayOptimWrapperConstructor',
    'ProgressBarHook',
    'UnreadableImagesHook',
]
