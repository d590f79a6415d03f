"""What a run writes for people to look at: scalars for other programs, images with predictions."""

import importlib.util
from pathlib import Path

from mmengine.config import Config, ConfigDict

from selnext_mm.config.walk import iter_hooks
from selnext_mm.errors import UserError

# mmengine's visualizer backends that need a package, by its import and install name.
BACKEND_PACKAGES = {
    'WandbVisBackend': 'wandb',
    'MLflowVisBackend': 'mlflow',
    'ClearMLVisBackend': 'clearml',
    'NeptuneVisBackend': 'neptune',
    'DVCLiveVisBackend': 'dvclive',
    'AimVisBackend': 'aim',
}


def add_tensorboard(cfg: Config) -> None:
    """Let the visualizer write TensorBoard's event files beside the scalars, in place.

    Raises:
        UserError: if tensorboard is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'--tensorboard: {error}; pip install "selnext_mm[tensorboard]" (or: pip install '
            'tensorboard). Without it, "selnext-mm report WORK_DIR" draws the same curves'
        ) from error
    visualizer = cfg.setdefault('visualizer', ConfigDict(type='Visualizer'))
    backends = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
    if not any(b.get('type', '').endswith('TensorboardVisBackend') for b in backends):
        backends = [*backends, dict(type='TensorboardVisBackend')]
    visualizer['vis_backends'] = backends


def check_backends(cfg: Config) -> None:
    """Raise :class:`UserError` for a visualizer's backend whose package is not installed.

    mmengine would find out when the work dir is made and the model is built.
    """
    for backend in (cfg.get('visualizer') or {}).get('vis_backends') or []:
        name = backend.get('type')
        package = BACKEND_PACKAGES.get(name.split('.')[-1]) if isinstance(name, str) else None
        if package and importlib.util.find_spec(package) is None:
            raise UserError(
                f'visualizer: {name} needs {package}: pip install {package}, or take it out of '
                'visualizer.vis_backends'
            )


def show_in(cfg: Config, folder: str) -> None:
    """Let the drawing hook of mmdet or mmpretrain write into ``folder``, in place.

    Raises:
        UserError: if the config has no such hook.
    """
    for hook in iter_hooks(cfg):
        kind = hook.get('type', '')
        if kind.endswith('DetVisualizationHook'):
            hook.update(draw=True, test_out_dir=str(Path(folder).resolve()))
            return
        if kind.endswith('VisualizationHook'):
            hook.update(enable=True, out_dir=str(Path(folder).resolve()))
            return
    raise UserError('--show-dir: the config has no visualization hook in default_hooks')
