"""Pieces for mmengine's runner: registered on import."""

from .amp import AutoAmpOptimWrapper
from .batch_resize import BatchResizeHook
from .checkpoint_hook import SafeCheckpointHook
from .finite import FiniteLossHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
from .runner import ConciseRunner

__all__ = [
    'AutoAmpOptimWrapper',
    'BatchResizeHook',
    'ConciseRunner',
    'FiniteLossHook',
    'LayerDecayOptimWrapperConstructor',
    'ResumableEpochBasedTrainLoop',
    'ResumableIterBasedTrainLoop',
    'SafeCheckpointHook',
]
