"""Do the weights of a run fit its model, and hold what it goes on from? Checked before it."""

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
                    f'from scratch; {earlier.name} is of an earlier one: --resume {earlier} goes '
                    'on from it'
                )
            raise UserError(
                f'--resume: no checkpoint in {work_dir}{gone}; name one (--resume PATH), give the '
                "run's folder (--work-dir DIR), or drop --resume to start from scratch"
            )
        return newest
    path = Path(resume)
    if not path.is_file():
        raise UserError(f'--resume {resume}: no such file')
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f'--resume {resume}: cannot be read ({error.strerror or error})') from error
    # Refuses whatever is not a checkpoint, with a message of its own.
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
    """Does this process look at ``path``? What has an address is fetched by one process."""
    return '://' not in path or is_first_process()


def read_checkpoint(path: str) -> dict:
    """A checkpoint from a file or an address, its weights where a runner looks for them.

    Raises:
        UserError: it cannot be fetched, or is refused.
    """
    if '://' not in path:
        return with_state_dict(load_file(path))
    try:
        return with_state_dict(CheckpointLoader.load_checkpoint(path, 'cpu', logger=None))
    except (KeyError, ImportError, OSError, ValueError) as error:
        raise UserError(f'{path} cannot be loaded: {type(error).__name__}: {error}') from error


def check_pretrained(cfg: Config, model: nn.Module | None = None) -> None:
    """Raise :class:`UserError` if the backbone's pretrained weights cannot be loaded.

    ``model`` is the config's model where it is there already; weights are loaded into it.
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
    """The config's model against what was read from ``path``, as the runner will load it."""
    own = (model or build_model(cfg, views=True)).state_dict()
    state, _ = without_prefix(own, state_dict_of(checkpoint, path))
    state, _ = classifier_for_maps(own, state)
    check_finite(own, state, path)
    return compare(own, state, new_names)


def check_checkpoint(
    cfg: Config,
    path: str,
    model: nn.Module | None = None,
    training: bool = False,
    checkpoint: dict | None = None,
) -> dict | None:
    """What ``path`` holds; :class:`UserError` unless it has all weights of the config's model.

    With ``training`` it also has to hold what a run goes on from. ``checkpoint`` is what was read
    from the file already. None in the processes that leave an address to the first one.
    """
    if checkpoint is None:
        if not _is_mine(path):
            return None
        checkpoint = read_checkpoint(path)
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
    """What ``cfg.load_from`` holds; :class:`UserError` unless it is a start for the model.

    Heads for other classes, or other heads, may differ; of the backbone 95 % have to fit. None
    where there is no ``load_from``, or another process looks at it.
    """
    path = cfg.get('load_from')
    if not path or not _is_mine(path):
        return None
    checkpoint = read_checkpoint(path)
    # Norms of a detector's maps, which a classifier does not have, do not count as lost.
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
