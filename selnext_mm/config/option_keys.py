"""Command-line options that would have no effect: an error that suggests what was meant."""

from collections.abc import Mapping

from mmengine.config import Config

from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean, near

# Top-level keys of a config that a runner and this package's commands read.
READ_KEYS = (
    *('model', 'data_preprocessor', 'pretrained', 'load_from', 'resume', 'work_dir', 'launcher'),
    *('train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg', 'test_cfg'),
    *('val_evaluator', 'test_evaluator', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr'),
    *('default_hooks', 'custom_hooks', 'custom_imports', 'env_cfg', 'randomness', 'default_scope'),
    *('log_processor', 'log_level', 'visualizer', 'experiment_name', 'runner_type', 'cfg'),
    *('compile', 'strategy'),
)
DATASET = 'train_dataloader.dataset'
# Keys that people write, from older versions or other programs -> the keys that are read.
MEANT = {
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper',
    'lr': 'optim_wrapper.optimizer.lr',
    'learning_rate': 'optim_wrapper.optimizer.lr',
    'weight_decay': 'optim_wrapper.optimizer.weight_decay',
    'lr_config': 'param_scheduler',
    'epochs': 'train_cfg.max_epochs',
    'max_epochs': 'train_cfg.max_epochs',
    'total_epochs': 'train_cfg.max_epochs',
    'runner': 'train_cfg',
    'max_iters': 'train_cfg.max_iters',
    'iters': 'train_cfg.max_iters',
    'val_interval': 'train_cfg.val_interval',
    'batch_size': 'train_dataloader.batch_size',
    'samples_per_gpu': 'train_dataloader.batch_size',
    'num_workers': 'train_dataloader.num_workers',
    'workers_per_gpu': 'train_dataloader.num_workers',
    'data': 'train_dataloader, val_dataloader and test_dataloader',
    'dataset': DATASET,
    'data_root': '--data-root DIR',
    'dataset_type': f'{DATASET}.type',
    'train_pipeline': f'{DATASET}.pipeline',
    'val_pipeline': 'val_dataloader.dataset.pipeline',
    'test_pipeline': 'test_dataloader.dataset.pipeline',
    'size': f'{DATASET}.pipeline',
    'img_scale': f'{DATASET}.pipeline',
    'classes': f'{DATASET}.metainfo.classes, and the same in the other loaders',
    'CLASSES': f'{DATASET}.metainfo.classes, and the same in the other loaders',
    'metainfo': f'{DATASET}.metainfo, and the same in the other loaders',
    'num_classes': 'num_classes of the heads in model',
    'backbone': 'model.backbone',
    'evaluation': 'train_cfg.val_interval and val_evaluator',
    'evaluator': 'val_evaluator',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger',
    'seed': 'randomness.seed',
    'fp16': '--amp',
    'resume_from': '--resume PATH',
}


def check_options(cfg: Config, options: Mapping) -> None:
    """Raise :class:`UserError` for an option that nothing would read.

    At the top level a config may contain variables of any name, but its own code has already used
    them when an option changes them. At deeper levels, constructors report wrong arguments
    themselves; in plain dicts a new key that resembles an existing one is a mistake.

    Args:
        cfg: the config, before the options are merged into it.
        options: dotted key -> value, as from ``--cfg-options``.
    """
    for key, value in options.items():
        first, *rest = str(key).split('.')
        if first not in READ_KEYS:
            variable = ' (a variable of the config, already used)' if first in cfg else ''
            meant = MEANT.get(first)
            if meant and rest and ' ' not in meant and meant[:2] != '--':
                meant = '.'.join([meant, *rest])
            hint = f'; write {meant}' if meant else did_you_mean(first, READ_KEYS, 1)
            raise UserError(
                f'--cfg-options {key}={value}: nothing reads the key {first!r}{variable}, so that '
                f'it would change nothing{hint}'
            )
        _check_inside(cfg, str(key))


def _check_inside(cfg: Config, key: str) -> None:
    """The same check for a key of a dict without a ``type``."""
    *path, last = key.split('.')
    if path and path[0].endswith(('_dataloader', 'randomness')) and len(path) == 1:
        return  # the loader and the seed report wrong arguments themselves
    node = cfg
    for name in path:
        if isinstance(node, list | tuple) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping | Config) and name in node:
            node = node[name]
        else:
            return
    if not isinstance(node, Mapping) or 'type' in node or last in node:
        return
    likely = near(last, map(str, node), 1, 0.75)
    if likely:
        where = '.'.join(path)
        raise UserError(
            f'--cfg-options {key}: {where} has no key {last!r}; did you mean '
            f'{where}.{likely[0]}? (It has {", ".join(map(str, node))})'
        )
