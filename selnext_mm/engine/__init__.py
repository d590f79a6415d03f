"""Pieces for mmengine's runner: registered on import."""

from .amp import AutoAmpOptimWrapper
from .banner import BannerHook
from .batch_resize import BatchResizeHook
from .checkpoint_hook import SafeCheckpointHook
from .faster_coco import FasterCocoMetric
from .finite import FiniteLossHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
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
    'FiniteLossHook',
    'GuardedLoad',
    'LayerDecayOptimWrapperConstructor',
    'ProgressBarHook',
    'ResumableEpochBasedTrainLoop',
    'ResumableIterBasedTrainLoop',
    'SafeCheckpointHook',
    'UnreadableImagesHook',
]
