"""What runs a training or a test: the runner and its hooks, loops, optimizers and checks.

Not here: reading configs (``config/``), weights in files (``checkpoints/``), scores
(``evaluation/``). The names below are imported on first use, so that
``engine.signals`` is in place before the imports that take seconds; ``register_modules`` of the
package imports them all.
"""

from importlib import import_module

# registered class -> module
EXPORTS = {
    'AutoAmpOptimWrapper': 'optimizers.amp',
    'BannerHook': 'hooks.banner',
    'BatchResizeHook': 'hooks.batch_resize',
    'ConciseLogProcessor': 'hooks.progress',
    'ConciseRunner': 'runner',
    'FiniteLossHook': 'hooks.finite_loss',
    'GuardedLoad': 'hooks.unreadable_images',
    'LayerDecayOptimWrapperConstructor': 'optimizers.layer_decay',
    'PolygonsToBitmaps': 'polygons',
    'PredictionImagesHook': 'hooks.prediction_images',
    'ProgressBarHook': 'hooks.progress',
    'ResumableEarlyStoppingHook': 'hooks.early_stopping',
    'ResumableEpochBasedTrainLoop': 'resume.loops',
    'ResumableIterBasedTrainLoop': 'resume.loops',
    'SafeCheckpointHook': 'resume.checkpoint_hook',
    'UnmixedImagesHook': 'hooks.unmixed_images',
    'UnreadableImagesHook': 'hooks.unreadable_images',
}
__all__ = sorted(EXPORTS)


def __getattr__(name: str):
    if name not in EXPORTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{EXPORTS[name]}'), name)
