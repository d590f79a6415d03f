"""The folder of a run: its name, the claim on it, and which split of the labels it belongs to."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from selnext_mm.config.load import load_config
from selnext_mm.config.walk import iter_datasets
from selnext_mm.config_files import OWN_CONFIG
from selnext_mm.datasets.formats import DatasetInfo
from selnext_mm.disk import check_folder
from selnext_mm.engine.distributed.launch import started_again
from selnext_mm.engine.distributed.rendezvous import agreed
from selnext_mm.engine.resume.lineage import last_checkpoint
from selnext_mm.engine.resume.work_dir_lock import WorkDirBusyError, WorkDirLock
from selnext_mm.errors import UserError
from selnext_mm.ranks import is_first_process
from selnext_mm.recipes.resolve import WRITTEN_BY
from selnext_mm.text import counted

POINTER = 'last_checkpoint'


def _default_folders(data: Path, model: str | None) -> Iterator[Path]:
    """``work_dirs/<data>_<model>``, then the same with the numbers from 2."""
    name = data.resolve().stem if data.is_file() else data.resolve().name
    base = Path('work_dirs', f'{name or "data"}_{(model or "default").replace("/", "_")}')
    yield base
    for number in count(2):
        yield base.with_name(f'{base.name}_{number}')


def _holds_run(folder: Path) -> bool:
    return (folder / POINTER).exists() or last_checkpoint(folder) is not None


def run_folder(data: Path, model: str | None, resume: bool) -> Path:
    """``work_dirs/<data>_<model>``, followed by a number if a run exists there.

    With ``resume`` it is the newest of these that contains a checkpoint.

    Raises:
        UserError: if there is nothing to resume.
    """
    newest = None
    for folder in _default_folders(data, model):
        if _holds_run(folder):
            newest = folder
        elif not resume:
            return folder
        elif not folder.exists():  # a folder without a checkpoint may be of a run that began later
            break
    if newest is None:
        raise _nothing_to_resume(next(_default_folders(data, model)))
    return newest


def refuse_labels_folder(folder: Path, data: str | Path) -> None:
    """Raise :class:`UserError` if ``folder``, from ``--out``, is the folder of the labels."""
    if folder.resolve() == Path(data).expanduser().resolve():
        raise UserError(
            f'--out {folder} is the folder of the labels, in which nothing is written; name '
            f'another, as {folder / "run"}'
        )


def folder_of_run(
    data: str | Path, model: str | None, out: str | Path | None, resume: bool
) -> Path:
    """``out``, or the default of :func:`run_folder`; without ``resume`` it must not contain a run.

    Raises:
        UserError: if it does.
    """
    folder = Path(out).expanduser() if out else run_folder(Path(data).expanduser(), model, resume)
    refuse_labels_folder(folder, data)
    if not resume:
        refuse_earlier_run(folder)
    elif not _holds_run(folder):
        raise _nothing_to_resume(folder)
    return folder


def _nothing_to_resume(folder: Path) -> UserError:
    return UserError(
        f'--resume: no checkpoint in {folder}; give the folder of the run with --out DIR, or drop '
        '--resume to start from scratch'
    )


def refuse_earlier_run(folder: Path) -> None:
    """Raise :class:`UserError` if ``folder`` contains a run, unless this job was restarted."""
    newest = None if started_again() else last_checkpoint(folder)
    if newest:
        raise UserError(
            f'{folder} holds a run, whose last checkpoint is {newest.name}; --resume goes on from '
            'it, or give another --out'
        )


@contextmanager
def claimed(
    data: str | Path, model: str | None, out: str | Path | None, resume: bool
) -> Iterator[tuple[Path, WorkDirLock]]:
    """:func:`folder_of_run`, made and locked until the block ends, and the lock.

    Of two runs that start together without ``out``, the second gets the next number. All processes
    of a run get the folder of the first. A folder that is empty after an error is removed.

    Raises:
        UserError: if the folder contains a run, or another run that trains in it.
    """
    made: list[Path] = []
    lock: WorkDirLock | None = None

    def claim(folder: Path, patience: float | None) -> WorkDirLock:
        check_folder('--out', folder)
        if not folder.is_dir():
            made.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = WorkDirLock(folder)
        lock.acquire(patience)
        return lock

    def choose() -> str:
        nonlocal lock
        for folder in _default_folders(Path(data).expanduser(), model):
            if _holds_run(folder):
                continue
            with suppress(WorkDirBusyError):
                lock = claim(folder, 0)
                if not _holds_run(folder):  # the other one may just have ended
                    return str(folder)
                lock.release()
        raise AssertionError('the numbers do not end')

    try:
        if out or resume:
            folder = folder_of_run(data, model, out, resume)
            lock = claim(folder, None)
            if not resume:
                refuse_earlier_run(folder)
        else:
            folder = Path(agreed('the folder of the run', choose))
        yield folder, lock or claim(folder, None)
    except BaseException:
        for path in made if is_first_process() else ():
            with suppress(OSError):  # it is not empty
                path.rmdir()
        raise
    finally:
        if lock:
            lock.release()


def _split_files(config: Path) -> list[Path]:
    """The label files that a run trains and validates on, as its config names them."""
    cfg = load_config(config)
    loaders = ('train_dataloader', 'val_dataloader')
    return [Path(dataset.get('ann_file') or '') for _, dataset in iter_datasets(cfg, loaders)]


def _same(old: Path, new: Path) -> bool:
    """Whether two files of converted labels are the same, wherever the cache is or was.

    Folders of the cache are named by the content of the labels. Copied images have new times, and
    with them another name, but the same files.
    """
    if (old.parent.name.rpartition('-')[2], old.name) == (
        new.parent.name.rpartition('-')[2],
        new.name,
    ):
        return True
    return old.is_file() and old.read_bytes() == new.read_bytes()


def refuse_another_split(folder: Path, info: DatasetInfo) -> str | None:
    """Raise :class:`UserError` if the run in ``folder`` has other images to train or validate on.

    The best score so far is of its own validation images, and among the images of another split
    are some that it has been trained on.

    Returns:
        a line to log if the labels of the run are gone, so that they cannot be compared.
    """
    config = folder / OWN_CONFIG
    if not config.is_file():
        return None
    old = _split_files(config)
    new = [info.splits[split].annotations for split in ('train', 'val')]
    if len(old) != len(new):
        return (
            f'WARNING: {config} names {counted(len(old), "label file")}, not one to train and one '
            'to validate on: whether they are those of this command cannot be seen'
        )
    if all(_same(*pair) for pair in zip(old, new, strict=True)):
        return None
    if not all(path.is_file() for path in old):
        return (
            f'WARNING: the labels that the run in {folder} was converted from cannot be compared '
            f'with these, as {old[0].parent} is gone; give the same --seed, --val and --format as '
            'before'
        )
    first = config.read_text(encoding='utf-8').partition('\n')[0]
    command = first.removeprefix(WRITTEN_BY) if first.startswith(WRITTEN_BY) else ''
    raise UserError(
        f'--resume: the run in {folder} has other images to train and validate on than this '
        'command; give the same --data, --seed, --val and --format as before'
        + (f' ({command})' if command else '')
        + '. If the labels have been changed since, start another run from its weights: --weights '
        'FILE --out DIR'
    )
