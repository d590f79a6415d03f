"""What a run writes through its visualizer: scalars for loggers, images with predictions."""

import functools
import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.visualization import MLflowVisBackend, Visualizer

from selnext_mm.config.walk import iter_hooks
from selnext_mm.errors import UserError

# mmengine's visualizer backends that need a package -> its import and install names.
BACKEND_PACKAGES = {
    'WandbVisBackend': 'wandb',
    'MLflowVisBackend': 'mlflow',
    'ClearMLVisBackend': 'clearml',
    'NeptuneVisBackend': 'neptune',
    'DVCLiveVisBackend': 'dvclive',
    'AimVisBackend': 'aim',
}


# Switch of train -> mmengine's backend, the module that it needs, and the package for pip.
LOGGERS = {
    'tensorboard': ('TensorboardVisBackend', 'torch.utils.tensorboard', 'selnext_mm[tensorboard]'),
    'wandb': ('WandbVisBackend', 'wandb', 'wandb'),
    'mlflow': ('MLflowVisBackend', 'mlflow', 'mlflow'),
    'clearml': ('ClearMLVisBackend', 'clearml', 'clearml'),
}
PROJECT = 'selnext_mm'
# Visualizers that draw predictions.
DRAWING = ('DetLocalVisualizer', 'UniversalVisualizer', 'SegLocalVisualizer')


def add_logger(cfg: Config, name: str) -> None:
    """Add a logging backend to the visualizer, in place.

    An existing backend of this type stays as it is. Otherwise the run appears under the work dir's
    name in the project ``selnext_mm``.

    Args:
        name: one of :data:`LOGGERS`. MLflow writes to the server of ``MLFLOW_TRACKING_URI``, or
        to ``mlflow.db`` in the work dir if that is not set.

    Raises:
        UserError: if its package is not installed.
    """
    backend, module, package = LOGGERS[name]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f'--{name}: {error}; pip install "{package}". Without it, '
            '"selnext-mm report WORK_DIR" draws the same curves'
        ) from error
    folder = Path(cfg.get('work_dir') or 'run').absolute()
    options: dict[str, dict] = {
        'wandb': dict(init_kwargs=dict(project=PROJECT, name=folder.name)),
        'mlflow': dict(exp_name=PROJECT, run_name=folder.name, **_mlflow_store(folder)),
        'clearml': dict(init_kwargs=dict(project_name=PROJECT, task_name=folder.name)),
    }
    visualizer = cfg.setdefault('visualizer', ConfigDict(type='Visualizer'))
    backends = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
    if not any(str(b.get('type', '')).endswith(backend) for b in backends):
        backends = [*backends, dict(type=backend, **options.get(name, {}))]
    visualizer['vis_backends'] = backends


def _mlflow_store(folder: Path) -> dict[str, Any]:
    """The server that the user has named, or a file: MLflow no longer accepts a plain folder.

    Artifacts are not copied beside the file: what mmengine uploads is already in this folder.
    """
    if uri := os.environ.get('MLFLOW_TRACKING_URI'):
        return dict(tracking_uri=uri)
    return dict(
        tracking_uri=f'sqlite:///{folder.as_posix()}/mlflow.db',
        artifact_location=(folder / 'mlflow').as_uri(),
        artifact_suffix=(),
    )


def show_predictions(cfg: Config, num: int) -> None:
    """Let each evaluation of a training draw ``num`` images with their predictions, in place.

    Raises:
        UserError: for less than one image, or a visualizer that cannot draw.
    """
    if num < 1:
        raise UserError(f'--show-predictions {num}; expected 1 or more images')
    kind = str((cfg.get('visualizer') or {}).get('type', ''))
    if not kind.endswith(DRAWING):
        raise UserError(
            f'--show-predictions: the visualizer of the config ({kind or "none"}) draws no '
            f'predictions; set visualizer.type to one of {", ".join(DRAWING)}, or leave it out'
        )
    hook = dict(type='PredictionImagesHook', num=num)
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def name_apart(cfg: Config) -> None:
    """Give a run its own visualizer, in place.

    If two configs use the same visualizer name, mmengine returns that of an earlier run of this
    process, which keeps writing into that run's folder.
    """
    visualizer = cfg.get('visualizer')
    name = visualizer.get('name') if isinstance(visualizer, dict) else None
    if name and Visualizer.check_instance_created(name):
        visualizer['name'] = f'{name}_{len(Visualizer._instance_dict)}'


@functools.cache
def name_mlflow_images() -> None:
    """Give the images that mmengine's backend passes to MLflow file names with a suffix.

    MLflow needs a suffix, but mmengine passes the bare name: a ValueError. The step becomes part
    of the name, since an image would overwrite that of the previous evaluation. Names that already
    have an image suffix are left as they are.
    """
    add = MLflowVisBackend.add_image

    @functools.wraps(add)
    def add_image(self, name, image, step=0, **kwargs) -> None:
        if Path(name).suffix.lower() not in ('.png', '.jpg', '.jpeg'):
            name = f'{name}_{step}.png'
        add(self, name, image, step, **kwargs)

    MLflowVisBackend.add_image = add_image


def check_backends(cfg: Config) -> None:
    """Raise :class:`UserError` for a visualizer's backend whose package is not installed.

    mmengine would fail only after the work dir is made and the model is built.
    """
    for backend in (cfg.get('visualizer') or {}).get('vis_backends') or []:
        name = backend.get('type')
        package = BACKEND_PACKAGES.get(name.split('.')[-1]) if isinstance(name, str) else None
        if package and importlib.util.find_spec(package) is None:
            raise UserError(
                f'visualizer: {name} needs {package}: pip install {package}, or take it out of '
                'visualizer.vis_backends'
            )
        if package == 'mlflow':
            name_mlflow_images()


def show_in(cfg: Config, folder: str) -> None:
    """Make the drawing hook of mmdet, mmpretrain or mmseg write into ``folder``, in place.

    mmseg's hook draws through the visualizer, which saves images in ``vis_data/vis_image/``.

    Raises:
        UserError: if the config has no such hook.
    """
    for hook in iter_hooks(cfg):
        kind = hook.get('type', '')
        if kind.endswith('DetVisualizationHook'):
            hook.update(draw=True, test_out_dir=str(Path(folder).resolve()))
            return
        if kind.endswith('SegVisualizationHook') and cfg.get('visualizer'):
            hook.update(draw=True, interval=1)
            cfg.visualizer.save_dir = str(Path(folder).resolve())
            return
        if kind.endswith('VisualizationHook'):
            hook.update(enable=True, out_dir=str(Path(folder).resolve()))
            return
    raise UserError('--show-dir: the config has no visualization hook in default_hooks')
