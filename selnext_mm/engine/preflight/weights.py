"""Check, before a run, that its weights fit the model and contain what a resume needs."""

import io
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import nn

from selnext_mm.checkpoints.files import load_file, with_state_dict
from selnext_mm.checkpoints.fit import (
    Comparison,
    check_finite,
    classifier_for_maps,
    compare,
    state_dict_of,
    stored_classes,
    without_prefix,
)
from selnext_mm.checkpoints.integrity import damage_of
from selnext_mm.checkpoints.pretrained import MIN_LOADED
from selnext_mm.config.build import build_model
from selnext_mm.config.walk import iter_datasets
from selnext_mm.engine.resume.lineage import Newest, find_newest, last_checkpoint, meta_of
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.base import CountedPretrained
from selnext_mm.ranks import is_first_process
from selnext_mm.text import preview


def resolve_resume(work_dir: str, resume: str) -> Newest | None:
    """The checkpoint that ``--resume`` continues from.

    Args:
        work_dir: of the run.
        resume: ``auto`` for the newest intact checkpoint of ``work_dir``; ``if-any`` for the same,
        or None if there are no checkpoints at all; or a file.

    Raises:
        UserError: if there is none. With ``auto`` or a file, or if all checkpoints are damaged, a
        run never starts from scratch.
    """
    if resume in ('auto', 'if-any'):
        newest = find_newest(work_dir) if Path(work_dir).is_dir() else None
        if newest is None and resume == 'auto':
            pointer = Path(work_dir, 'last_checkpoint')
            gone = (
                f' (it points to {pointer.read_text(encoding="utf-8").strip()})'
                if pointer.is_file()
                else ''
            )
            earlier = last_checkpoint(work_dir)
            if earlier and not gone:
                raise UserError(
                    f'--resume: {work_dir} has no checkpoint of its last run, which had started '
                    f'from scratch; {earlier.name} is of an earlier one: train CONFIG --resume '
                    f'{earlier} goes on from it'
                )
            raise UserError(
                f'--resume: no checkpoint in {work_dir}{gone}; name one (train CONFIG --resume '
                "PATH), give the run's folder (--work-dir DIR), or drop --resume to start from "
                'scratch'
            )
        return newest
    path = Path(resume)
    if not path.is_file():
        raise UserError(f'--resume {resume}: no such file')
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f'--resume {resume}: cannot be read ({error.strerror or error})') from error
    # Refuses anything that is not a checkpoint, with its own message.
    checkpoint = load_file(path, content=content)
    try:
        meta = meta_of(checkpoint)
    except ValueError as error:
        raise UserError(
            f'--resume {resume}: {error}. To start from these weights: '
            f'--cfg-options load_from={resume}'
        ) from error
    if problem := damage_of(io.BytesIO(content)):
        raise UserError(f'--resume {resume}: {problem}')
    return Newest(path, meta['epoch'], meta['iter'], checkpoint=checkpoint)


def _is_mine(path: str) -> bool:
    """Whether this process reads ``path``; only one process fetches a URL."""
    return '://' not in path or is_first_process()


def read_checkpoint(path: str) -> dict:
    """A checkpoint from a file or a URL, with its weights where a runner looks for them.

    Raises:
        UserError: if it cannot be fetched, or is refused.
    """
    if '://' not in path:
        return with_state_dict(load_file(path))
    try:
        return with_state_dict(CheckpointLoader.load_checkpoint(path, 'cpu', logger=None))
    except (KeyError, ImportError, OSError, ValueError) as error:
        raise UserError(f'{path} cannot be loaded: {type(error).__name__}: {error}') from error


def check_pretrained(cfg: Config, model: nn.Module | None = None) -> None:
    """Raise :class:`UserError` if the backbone's pretrained weights cannot be loaded.

    ``model`` is the config's model if it is already built; weights are loaded into it.
    """
    backbone = cfg.model.get('backbone') or {}
    init_cfg = backbone.get('init_cfg')
    path = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
    if not path or not _is_mine(path):
        return
    built = (model or build_model(cfg)).backbone
    if isinstance(built, CountedPretrained):
        built.load_pretrained()
    else:
        read_checkpoint(path)


def _compare(
    cfg: Config,
    path: str,
    model: nn.Module | None,
    checkpoint: dict,
    new_names: tuple[str, ...] = (),
) -> Comparison:
    """Compare the config's model with the content of ``path``, as the runner will load it."""
    own = (model or build_model(cfg, views=True)).state_dict()
    state, _ = without_prefix(own, state_dict_of(checkpoint, path))
    state, _ = classifier_for_maps(own, state)
    check_finite(own, state, path)
    return compare(own, state, new_names)


def read_here(path: str) -> dict | None:
    """The content of ``path``; None in processes that leave a URL to the first one."""
    return read_checkpoint(path) if _is_mine(path) else None


def check_checkpoint(
    cfg: Config,
    path: str,
    model: nn.Module | None = None,
    training: bool = False,
    checkpoint: dict | None = None,
) -> dict | None:
    """The content of ``path``; :class:`UserError` unless it has all weights of the config's model.

    With ``training`` it also has to contain what a resume needs. ``checkpoint`` is the content if
    the file has already been read. Returns None in processes that leave a URL to the first one.
    """
    checkpoint = checkpoint or read_here(path)
    if checkpoint is None:
        return None
    result = _compare(cfg, path, model, checkpoint)
    if training:
        meta = checkpoint.get('meta')
        known = isinstance(meta, Mapping) and {'epoch', 'iter'} <= meta.keys()
        if not known or 'optimizer' not in checkpoint:
            raise UserError(
                f'{path} holds weights, but not the state of a run (optimizer, epoch, iteration); '
                '--resume needs a checkpoint of this run. To start from these weights: '
                f'--cfg-options load_from={path}'
            )
    bad = [*result.missing, *result.misshapen]
    if not bad:
        return checkpoint
    if len(bad) == len(result.class_layers):
        name = bad[0]
        classes = stored_classes(checkpoint)
        names = f' ({preview(classes)})' if classes else ''
        raise UserError(
            f'{path} was trained for another number of classes{names}: {name} has '
            f'{result.misshapen[name][0][0]} rows, the config {result.misshapen[name][1][0]}. Use '
            'the config that trained it, or set its num_classes and metainfo.classes'
        )
    raise UserError(
        f'{path} is not a checkpoint of this model: of {result.counted} tensors '
        f'{len(result.missing)} are missing and {len(result.misshapen)} have another shape '
        f'({preview(bad, 4)}). Use the config that trained it (a copy lies beside every checkpoint)'
    )


def check_load_from(cfg: Config, model: nn.Module | None = None) -> dict | None:
    """The content of ``cfg.load_from``; :class:`UserError` unless the model can start from it.

    Heads may differ, but 95 % of the backbone have to fit. Returns None if there is no
    ``load_from``, or if another process reads it.
    """
    path = cfg.get('load_from')
    if not path or not _is_mine(path):
        return None
    checkpoint = read_checkpoint(path)
    # Output norms of a detector, which a classifier does not have, do not count as missing.
    result = _compare(cfg, path, model, checkpoint, (r'backbone\.norm\d+\.',))
    prefix = 'backbone.' if 'backbone' in cfg.model else ''
    if result.share(prefix) < MIN_LOADED:
        raise UserError(
            f'{result.sentence("load_from", path)}. That is under {MIN_LOADED:.0%} of the '
            'backbone: train the model that the file is of (with --data name it, as '
            'faster_rcnn/selnext_t), or for backbone weights alone use --cfg-options '
            'pretrained=FILE with a config'
        )
    return checkpoint


def check_class_names(cfg: Config, path: str, checkpoint: dict) -> str | None:
    """A line to log if the classes stored in a checkpoint are not those of the test set."""
    stored = stored_classes(checkpoint)
    dataset = next((d for _, d in iter_datasets(cfg, ('test_dataloader',))), {})
    wanted = (dataset.get('metainfo') or {}).get('classes')
    if stored is None or not isinstance(wanted, list | tuple) or tuple(wanted) == stored:
        return None
    pairs = enumerate(zip_longest(stored, wanted))
    place, there, here = next((i, a, b) for i, (a, b) in pairs if a != b)
    return (
        f'{path} was trained on other classes: number {place} is {there!r} there and {here!r} in '
        'the config; results carry the names of the config'
    )
