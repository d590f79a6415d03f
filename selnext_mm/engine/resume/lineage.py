"""Which checkpoint a run resumes from: the newest intact one of its own."""

import io
import json
import pickle
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.dist import is_main_process

from selnext_mm.checkpoints.files import load_file
from selnext_mm.checkpoints.integrity import damage, damage_of
from selnext_mm.checkpoints.sniff import check_file
from selnext_mm.disk import write_text
from selnext_mm.engine.distributed.collectives import from_first
from selnext_mm.errors import UserError
from selnext_mm.ranks import is_first_process

POINTER = 'last_checkpoint'
LINEAGE = 'run.json'
FOREIGN = ''  # the run id of files without one, which another program wrote
EARLIER = 'it belongs to an earlier run in this folder, or to another one'


@dataclass
class Newest:
    """A checkpoint to resume from, and the newer ones that cannot be used, with reasons."""

    path: Path
    epoch: int
    iter: int
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    checkpoint: dict | None = field(default=None, repr=False, compare=False)  # its content

    def lines(self) -> list[str]:
        """Lines for the log: what is used and what is skipped."""
        skipped = [f'skipped {path}: {reason}' for path, reason in self.skipped]
        return [*skipped, f'resume from {self.path} (epoch {self.epoch}, iteration {self.iter})']


def read_meta(path: Path) -> dict:
    """The ``meta`` of a checkpoint, without reading its weights.

    Raises:
        ValueError: if training cannot resume from the file; the message says why.
    """
    try:
        check_file(path)  # refuses an archive that would fill the memory
        checkpoint = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
    except UserError as error:
        raise ValueError(str(error).removeprefix(str(path)).lstrip(': ')) from error
    except pickle.UnpicklingError as error:
        raise ValueError('refused: it is no checkpoint or would run code') from error
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError, ... on damage
        raise ValueError(damage(path) or 'not a checkpoint') from error
    return meta_of(checkpoint)


def meta_of(checkpoint: dict) -> dict:
    """The ``meta`` of a checkpoint that has been read; raises like :func:`read_meta`."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= set(meta):
        raise ValueError('no epoch and iteration in it: weights, not a state of training')
    if not all(type(meta[key]) is int and meta[key] >= 0 for key in ('epoch', 'iter')):
        raise ValueError(
            f'epoch {meta["epoch"]!r:.20}, iteration {meta["iter"]!r:.20}: not valid counts'
        )
    if 'optimizer' not in checkpoint:
        raise ValueError('no optimizer state in it: good for --cfg-options load_from=..., or test')
    return meta


def _pointed(work_dir: Path) -> Path | None:
    """The file that the pointer names; if the folder was moved, the one beside the pointer."""
    try:
        path = Path((work_dir / POINTER).read_text(encoding='utf-8').strip())
    except OSError:
        return None
    moved = work_dir / path.name
    if not path.name:
        return None
    return path if path.is_file() or not moved.is_file() else moved


def _lineage(work_dir: Path) -> dict[str, float]:
    """run id -> last iteration that belongs to the current run; {} if this is not recorded."""
    try:
        runs = json.loads((work_dir / LINEAGE).read_text(encoding='utf-8'))['runs']
        return {r['id']: float('inf') if r['until'] is None else r['until'] for r in runs}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _run_id(meta: dict) -> str:
    run = meta.get('run_id')
    return run if isinstance(run, str) else FOREIGN


def belongs_to_run(work_dir: str | Path, meta: dict) -> bool:
    """False for a checkpoint that an earlier run left in the folder; True if this is unknown."""
    lineage, run = _lineage(Path(work_dir)), _run_id(meta)
    return not lineage or run == FOREIGN or meta.get('iter', 0) <= lineage.get(run, -1)


def _checkpoints(work_dir: Path) -> list[Path]:
    folders = [work_dir]
    pointed = _pointed(work_dir)
    if pointed is not None and pointed.parent.is_dir():
        folders.append(pointed.parent)
    paths = {p.resolve(): p for f in folders for p in sorted(f.glob('*.pth')) if p.is_file()}
    return [p for p in paths.values() if not p.name.startswith(('best_', '.'))]


def _readable(work_dir: Path) -> tuple[list[tuple[Path, dict]], list[tuple[Path, str]]]:
    """Checkpoints of the current run, newest first, and those that cannot be read at all."""
    lineage = _lineage(work_dir)
    readable, skipped = [], []
    for path in _checkpoints(work_dir):
        try:
            meta = read_meta(path)
        except ValueError as error:
            skipped.append((path, str(error)))
            continue
        if lineage and meta['iter'] > lineage.get(_run_id(meta), -1):
            skipped.append((path, EARLIER))
        else:
            readable.append((path, meta))
    readable.sort(key=lambda item: (item[1]['iter'], item[1]['epoch']), reverse=True)
    return readable, skipped


def read_intact(path: Path) -> tuple[dict | None, str | None]:
    """A checkpoint of ``torch.save`` and None, or None and what is wrong with its bytes.

    The file is read once. Raises like :func:`~selnext_mm.checkpoints.files.load_file`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, f'cannot be read ({error.strerror or error})'
    if problem := damage_of(io.BytesIO(content)):
        return None, problem
    return load_file(path, content=content), None


def find_newest(work_dir: str | Path) -> Newest | None:
    """The newest intact checkpoint of the run in ``work_dir``; None if there are no checkpoints.

    Every byte of it has been read, once, and compared with its checksum; the result includes the
    content. Checkpoints of an earlier run in the same folder do not count.

    Raises:
        UserError: if there are checkpoints, but none is intact; the message names each.
    """
    work_dir = Path(work_dir)
    readable, skipped = _readable(work_dir)
    for path, meta in readable:
        checkpoint, problem = read_intact(path)
        if problem is None:
            return Newest(path, meta['epoch'], meta['iter'], skipped, checkpoint)
        skipped.append((path, problem))
    of_this_run = [(p, r) for p, r in skipped if r != EARLIER]
    if not of_this_run:
        return None
    listed = '; '.join(f'{path.name}: {reason}' for path, reason in of_this_run)
    raise UserError(
        f'no checkpoint in {work_dir} can be resumed from ({listed}). Name another file with '
        '--resume PATH (of train CONFIG), or move these away and start without --resume'
    )


def last_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that was last written into ``work_dir``, by any run; None if there is none."""
    paths = _checkpoints(Path(work_dir)) if Path(work_dir).is_dir() else []
    return max(paths, key=lambda path: path.stat().st_mtime, default=None)


def restart_warning(work_dir: str | Path) -> str | None:
    """A warning for a run that does not resume in a folder with checkpoints; else None."""
    newest = last_checkpoint(work_dir)
    if newest is None:
        return None
    count = len(_checkpoints(Path(work_dir)))
    # From here on a plain --resume refers to this run.
    return (
        f'{work_dir} holds checkpoints of an earlier run ({count}, the last {newest.name}). '
        'This run starts from scratch and will replace those of the same name; to go on from the '
        f'earlier one stop this run and give --resume {newest}, or give this one another '
        '--work-dir'
    )


def claim(work_dir: str | Path, resumed: tuple[Path, dict] | None) -> None:
    """:func:`start_run` for a process that has not built its run yet.

    A run that dies during setup and is restarted must not mistake the checkpoints of an earlier
    run in the folder for its own. The first process writes; nothing is created in a folder
    without checkpoints.

    Args:
        work_dir: of the run; it may be missing.
        resumed: the file that the run resumes from and its ``meta``; None for a new run.
    """
    work_dir = Path(work_dir)
    if not is_first_process() or not work_dir.is_dir() or not _checkpoints(work_dir):
        return
    _start_run(work_dir, resumed)


def start_run(work_dir: str | Path, resumed: tuple[Path, dict] | None) -> str:
    """Record which run the folder belongs to from now on; return its id.

    Args:
        work_dir: of the run.
        resumed: the checkpoint file that it resumes from and its ``meta``; None for a new run,
            whose folder may hold the checkpoints of an earlier one.
    """
    run = None
    if is_main_process():
        run = _start_run(Path(work_dir), resumed)
    return from_first(run)


def _start_run(work_dir: Path, resumed: tuple[Path, dict] | None) -> str:
    new = uuid.uuid4().hex[:12]
    if resumed is None:
        # In this order, so that a pointer to a file of the earlier run does no harm.
        _write_lineage(work_dir, {new: float('inf')})
        (work_dir / POINTER).unlink(missing_ok=True)
        return new
    path, meta = resumed
    run, lineage = _run_id(meta), _lineage(work_dir)
    present = next((run for run, until in lineage.items() if until == float('inf')), None)
    newer = any(m['iter'] > meta['iter'] for _, m in _readable(work_dir)[0])
    if present != run or newer or run == FOREIGN:
        # Back to an older state, or to another folder's: later checkpoints no longer count.
        lineage = {each: min(until, meta['iter']) for each, until in lineage.items()}
        lineage[run] = meta['iter']
        _write_lineage(work_dir, {**lineage, new: float('inf')})
        present = new
    write_text(work_dir / POINTER, str(path.resolve()))
    return present


def _write_lineage(work_dir: Path, lineage: dict[str, float]) -> None:
    runs = [dict(id=r, until=None if u == float('inf') else u) for r, u in lineage.items()]
    write_text(work_dir / LINEAGE, json.dumps(dict(runs=runs), indent=1) + '\n')
