"""Checks before a run: what is missing is said in one message, before anything is written."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from selnext_mm.checkpoints.atomic import damage
from selnext_mm.checkpoints.files import load_file
from selnext_mm.engine.config import iter_datasets, iter_evaluators
from selnext_mm.engine.newest import Newest, find_newest, read_meta
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.base import Backbone


def _join(root: str | None, path: str) -> Path:
    return Path(root or '', path).expanduser()


def check_data(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Raise :class:`UserError` if an annotation file or image folder is not there.

    Addresses with a scheme (``s3://...``) are left to the file client.
    """
    wanted: dict[Path, str] = {}
    for loader, dataset in iter_datasets(cfg, loaders):
        root = dataset.get('data_root')
        if '://' in str(root or ''):
            continue
        if root and not Path(root).expanduser().is_dir():
            wanted.setdefault(Path(root).expanduser(), f'data_root of {loader}')
            continue
        if dataset.get('ann_file'):
            wanted.setdefault(_join(root, dataset['ann_file']), f'ann_file of {loader}')
        prefix = dataset.get('data_prefix')
        prefixes = prefix.values() if isinstance(prefix, dict) else [prefix]
        for value in filter(None, prefixes):
            wanted.setdefault(_join(root, value), f'data_prefix of {loader}')
        # Of mmpretrain's classes with a split only ImageNet names a folder after it.
        folders = str(dataset.get('type')).endswith('ImageNet') and dataset.get('split')
        if folders and not dataset.get('ann_file') and not prefix and root:
            wanted.setdefault(_join(root, dataset['split']), f'split of {loader}')
    for name, evaluator in iter_evaluators(cfg):
        ann_file = evaluator.get('ann_file')
        if name.split('_')[0] in {x.split('_')[0] for x in loaders} and ann_file:
            wanted.setdefault(Path(ann_file).expanduser(), f'ann_file of {name}')
    missing = [f'{path} ({what})' for path, what in wanted.items() if not path.exists()]
    if missing:
        raise UserError(
            'the data set is not where the config says; looked for '
            + ', '.join(missing)
            + f', from {Path.cwd()}. Give its folder with --data-root DIR: it holds '
            'annotations/ and the image folders (COCO) or train/ and val/ (ImageNet)'
        )


def resolve_resume(work_dir: str, resume: str) -> Newest | None:
    """What ``--resume`` goes on from.

    Args:
        work_dir: of the run.
        resume: ``auto``, the newest intact checkpoint of ``work_dir``; ``if-any``, the same, or
            None where there are no checkpoints at all; or a file.

    Raises:
        UserError: if there is none. A run never starts from scratch because of ``auto`` or a
            file, nor beside checkpoints that are all damaged.
    """
    if resume in ('auto', 'if-any'):
        newest = find_newest(work_dir) if Path(work_dir).is_dir() else None
        if newest is None and resume == 'auto':
            raise UserError(
                f"--resume: no checkpoint in {work_dir}; name one (--resume PATH), give the run's "
                'folder (--work-dir DIR), or drop --resume to start from scratch'
            )
        return newest
    path = Path(resume)
    if not path.is_file():
        raise UserError(f'--resume {resume}: no such file')
    load_file(path)  # refuses whatever is not a checkpoint, with a message of its own
    try:
        meta = read_meta(path)
    except ValueError as error:
        raise UserError(f'--resume {resume}: {error}') from error
    if problem := damage(path):
        raise UserError(f'--resume {resume}: {problem}')
    return Newest(path, meta['epoch'], meta['iter'])


def check_pretrained(cfg: Config) -> None:
    """Raise :class:`UserError` if the backbone's pretrained weights cannot be loaded."""
    backbone = cfg.model.get('backbone') or {}
    init_cfg = backbone.get('init_cfg')
    path = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
    if not path or '://' in path:
        return
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        built = MODELS.build(backbone)
    if isinstance(built, Backbone):
        built.load_pretrained()
    else:
        load_file(path)


def check_checkpoint(cfg: Config, path: str) -> None:
    """Raise :class:`UserError` unless ``path`` holds all weights of the config's model."""
    if '://' in path:
        return
    checkpoint = load_file(path)
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, Mapping):
        raise UserError(f'{path}: no state_dict in this checkpoint')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        own = MODELS.build(cfg.model).state_dict()
    state = {k.removeprefix('module.'): v for k, v in state.items()}
    missing = [k for k in own if k not in state]
    other = [k for k in state if k in own and state[k].shape != own[k].shape]
    if missing or other:
        shown = ', '.join((missing + other)[:4])
        raise UserError(
            f'{path} is not a checkpoint of this model: of {len(own)} tensors {len(missing)} are '
            f'missing and {len(other)} have another shape ({shown}, ...). Use the config that '
            'trained it (a copy lies beside every checkpoint)'
        )
