"""From a config file and command-line options to the config that the runner gets."""

import importlib.util
import os
from pathlib import Path

from mmengine.config import Config, ConfigDict

from selnext_mm.config.walk import iter_datasets, iter_evaluators
from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError


def load_config(name: str | Path, options: dict | None = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Raises:
        UserError: no such file, not a valid config, or options that cannot be merged.
    """
    path = find_config(name)
    if path.suffix not in ('.py', '.yaml', '.yml', '.json'):
        raise UserError(f'{path}: a config ends in .py, .yaml or .json')
    try:
        cfg = Config.fromfile(path)
    # A config is executed Python: whatever goes wrong in it is the config's error.
    except (Exception, SystemExit) as error:
        reason = f'{type(error).__name__}: {error}'.strip().splitlines()[0]
        if isinstance(error, SyntaxError) and error.filename in (None, '<unknown>'):
            code = f' ({error.text.strip()})' if error.text else ''
            reason = f'{type(error).__name__} in line {error.lineno}{code}: {error.msg}'
        if isinstance(error, ImportError) or 'is used but incompatible' in reason:
            reason += '. "selnext-mm doctor" checks the environment'
        raise UserError(f'cannot read the config {path}: {reason}') from error
    if options:
        try:
            cfg.merge_from_dict(options)
        except (KeyError, TypeError, IndexError, AssertionError) as error:
            raise UserError(f'cannot merge --cfg-options {options}: {error}') from error
    if 'model' not in cfg:
        raise UserError(f'{path} defines no model; it is a base, name a leaf of configs/')
    apply_pretrained(cfg)
    return cfg


def apply_pretrained(cfg: Config) -> None:
    """Carry the top-level ``pretrained``, which ``--cfg-options`` can set, into the backbone.

    Raises:
        UserError: if the model has no ``backbone.init_cfg`` to take it.
    """
    pretrained = cfg.get('pretrained')
    if pretrained is None:
        return
    backbone = cfg.model.get('backbone')
    if backbone is None:
        raise UserError('pretrained is set, but the model of this config has no backbone')
    init_cfg = backbone.get('init_cfg') or {}
    if not isinstance(init_cfg, dict):
        raise UserError('pretrained is set, but model.backbone.init_cfg is a list; set it there')
    backbone.init_cfg = dict(
        init_cfg, type='Pretrained', checkpoint=pretrained, prefix=init_cfg.get('prefix')
    )


def default_work_dir(config_path: str | Path) -> str:
    """``work_dirs/<folder>/<stem>``: two folders hold configs of the same name."""
    path = Path(config_path)
    parts = path.with_suffix('').parts
    if 'configs' in parts:
        last = len(parts) - 1 - parts[::-1].index('configs')
        relative = Path(*parts[last + 1 :])
    else:
        relative = Path(path.resolve().parent.name, path.stem)
    return str(Path('work_dirs') / relative)


def set_data_root(cfg: Config, data_root: str | Path) -> None:
    """Move every dataset and every evaluator's annotation file to ``data_root``, in place."""
    new = str(data_root)
    old_roots = []
    for _, dataset in iter_datasets(cfg):
        old = dataset.get('data_root')
        if old:
            old_roots.append(str(old).rstrip('/'))
        dataset['data_root'] = new
    for _, evaluator in iter_evaluators(cfg):
        ann_file = evaluator.get('ann_file')
        if not ann_file:
            continue
        inside = next((r for r in old_roots if str(ann_file).startswith(r + '/')), None)
        if inside:
            evaluator['ann_file'] = os.path.join(new, str(ann_file)[len(inside) + 1 :])
        elif not os.path.isabs(ann_file):
            evaluator['ann_file'] = os.path.join(new, ann_file)
    if 'data_root' in cfg:
        cfg.data_root = new


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
