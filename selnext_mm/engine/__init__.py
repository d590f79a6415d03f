"""Pieces for mmengine's runner: registered on import."""

from selnext_mm.engine.hooks.banner import BannerHook
from selnext_mm.engine.hooks.batch_resize import BatchResizeHook
from selnext_mm.engine.hooks.finite_loss import FiniteLossHook
from selnext_mm.engine.hooks.progress import ConciseLogProcessor, ProgressBarHook
from selnext_mm.engine.hooks.unreadable_images import GuardedLoad, UnreadableImagesHook
from selnext_mm.engine.optimizers.amp import AutoAmpOptimWrapper
from selnext_mm.engine.optimizers.layer_decay import LayerDecayOptimWrapperConstructor
from selnext_mm.engine.resume.checkpoint_hook import SafeCheckpointHook
from selnext_mm.engine.resume.loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
from selnext_mm.engine.runner import ConciseRunner

__all__ = [
    'AutoAmpOptimWrapper',
    'BannerHook',
    'BatchResizeHook',
    'ConciseLogProcessor',
    'ConciseRunner',
    'FiniteLossHook',
    'GuardedLoad',
    'LayerDecayOptimWrapperConstructor',
    'ProgressBarHook',
    'ResumableEpochBasedTrainLoop',
    'ResumableIterBasedTrainLoop',
    'SafeCheckpointHook',
    'UnreadableImagesHook',
]
