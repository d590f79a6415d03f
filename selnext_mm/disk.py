"""Atomic writing (to a temporary file, sync, verify, rename), and messages for full disks.

All writing of results in this package goes through here.
"""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from selnext_mm.errors import UserError

try:
    import resource  # not on Windows
except ImportError:
    resource = None

TEMPORARY = re.compile(r'^\.(?P<name>.+)\.\d+\.tmp$')
LIMITS = {
    errno.ENOSPC: 'the disk is full',
    errno.EDQUOT: 'the disk quota is used up',
    errno.EFBIG: 'the file-size limit (ulimit -f) is reached',
    errno.EROFS: 'the file system is read-only',
}
CANNOT_SYNC = {
    *(errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP),
    *(errno.ENOSYS, errno.EBADF, errno.EACCES),
}


def temporary_path(path: Path) -> Path:
    """Where the file is while it is written: hidden, in the same folder, named by process."""
    return path.with_name(f'.{path.name}.{os.getpid()}.tmp')


def temporary_files(folder: str | Path) -> list[Path]:
    """Temporary files that interrupted writes left in ``folder``."""
    return sorted(p for p in Path(folder).glob('.*.tmp') if TEMPORARY.match(p.name))


def sync(path: Path) -> None:
    """Wait until ``path``, a file or a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDWR if os.name == 'nt' else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk, if the file system supports that.

    Some FUSE, SMB and overlay file systems do not, and an unreadable folder cannot be opened.
    """
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


class _Sink:
    """A binary file that counts the bytes written and keeps the first disk error.

    torch.save turns a failed write into its own RuntimeError, which does not name the reason.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size = file, 0
        self.error: OSError | None = None

    def write(self, data) -> int:
        data = memoryview(data).cast('B')
        self.size += len(data)
        try:
            self.file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise
        return len(data)

    def flush(self) -> None:
        self.file.flush()


def write_atomically(
    path: str | Path,
    write: Callable[[BinaryIO], object],
    verify: Callable[[Path], str | None] | None = None,
) -> Path:
    """Call ``write(file)`` so that ``path`` is either complete or unchanged.

    The order is: a hidden file beside ``path``, fsync, ``verify``, rename, fsync of the folder.
    A kill at any moment leaves the former ``path``, and at most the hidden file, which
    :func:`temporary_files` finds.

    Args:
        path: the file to make or replace.
        write: writes everything into the open file.
        verify: reads the finished file; returns what is wrong with it, or None.

    Raises:
        UserError: if the file cannot be written or read back; the message names path and free
        space. ``path`` is unchanged.
    """
    path = Path(path)
    temporary = temporary_path(path)
    sink, replaced = None, False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, 'wb') as file:
            sink = _Sink(file)
            write(cast(BinaryIO, sink))  # writing a whole file needs no other methods
            file.flush()
            os.fsync(file.fileno())
            # Drop the page cache, if possible, so that the file is read back from the disk.
            if hasattr(os, 'posix_fadvise'):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if size_error := _wrong_size(temporary, sink.size):
            raise UserError(f'{path} could not be written: {size_error}')
        if problem := verify(temporary) if verify else None:
            raise UserError(f'{path} was written, but does not read back: {problem}')
        os.replace(temporary, path)
        replaced = True
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        cause = sink.error if sink and sink.error else error
        if replaced:
            raise UserError(
                f'{path} is written, but {path.parent} could not be synced ({cause}): after a '
                'power failure the former file may be there. Look at the disk (dmesg)'
            ) from error
        raise UserError(_cannot_write(path, cause, sink.size if sink else 0)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def _wrong_size(path: Path, expected: int) -> str | None:
    found = path.stat().st_size
    return f'{found} bytes on the disk instead of {expected}' if found != expected else None


def _megabytes(count: int) -> str:
    return f'{count / 2**20:.1f} MB'


def _cannot_write(path: Path, error: BaseException, written: int) -> str:
    return f'{limit_reached(path, error, written)}. What was there before is untouched'


def limit_reached(path: Path, error: BaseException, written: int = 0) -> str:
    """Why ``path`` could not be written, with the free space."""
    number = getattr(error, 'errno', None)
    text = LIMITS.get(number) or getattr(error, 'strerror', None) or str(error).splitlines()[0]
    facts = []
    if written:
        facts.append(f'{_megabytes(written)} were on their way')
    with contextlib.suppress(OSError):
        facts.append(f'{_megabytes(shutil.disk_usage(path.parent).free)} free in {path.parent}')
    if resource and number == errno.EFBIG:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY:
            facts.append(f'files may have {_megabytes(limit)}')
    space = f' ({", ".join(facts)})' if facts else ''
    return f'{path} could not be written: {text}{space}'


def full_disk(error: OSError) -> str | None:
    """One message for a full disk, whatever code was writing; None for other errors.

    A write error does not name the file: it is looked up among the open files of the traceback.
    """
    if error.errno not in LIMITS:
        return None
    name, trace = error.filename, error.__traceback__
    while trace is not None and error.filename is None:
        for value in trace.tb_frame.f_locals.values():
            opened = getattr(value, 'name', None) if isinstance(value, io.IOBase) else None
            name = opened if isinstance(opened, str) else name
        trace = trace.tb_next
    remedy = 'Free space or name another folder, then start again (training: with --resume)'
    path = Path(os.fsdecode(name)) if name is not None else Path('the output or a file')
    return f'{limit_reached(path, error)}. {remedy}'


def write_text(path: str | Path, text: str) -> Path:
    """Write ``text`` to ``path`` atomically; return ``path``."""
    return write_atomically(path, lambda file: file.write(text.encode()))


def write_output(option: str, path: str | Path, text: str) -> None:
    """Write ``text`` to the file that ``option`` names, atomically if it is a regular file.

    A device or a pipe (``/dev/stdout``) is written directly, and no folder is made.
    """
    target = Path(path).expanduser().resolve()
    try:
        if target.is_file() or not target.exists():
            os.stat(os.path.join(target.parent, ''))  # raises if the folder cannot be used
            write_text(target, text)
        else:
            target.write_text(text, encoding='utf-8')
    except OSError as error:
        raise UserError(
            f'{option} {path} could not be written: {error.strerror}; name a writable file'
        ) from None


def write_json(path: str | Path, value, indent: int | None = 1) -> Path:
    """Write ``value`` as JSON to ``path`` atomically; ValueError for NaN and infinities."""
    return write_text(path, json.dumps(value, indent=indent, allow_nan=False) + '\n')


@contextlib.contextmanager
def new_file(out: Path, option: str = '', *beside: str) -> Iterator[Path]:
    """A path beside ``out`` that is moved there if the block succeeds, else removed.

    Its suffix is that of ``out``. ``option`` begins the message of the :class:`UserError` if it
    cannot be written. ``beside``: suffixes of files that the writer adds ('.bin'), moved first.
    """
    path = out.with_name(f'.{out.stem}.{os.getpid()}{out.suffix}')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield path
        if path.exists():
            for suffix in (*beside, out.suffix):
                os.replace(path.with_suffix(suffix), out.with_suffix(suffix))
    except OSError as error:
        raise UserError(f'{option} {out}: {error.strerror or error}'.strip()) from error
    finally:
        for suffix in (*beside, out.suffix):
            path.with_suffix(suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(out: Path, option: str = '') -> Iterator[Path]:
    """As :func:`fresh_folder`; ``option`` begins the message as in :func:`new_file`."""
    check_folder(option, out.parent)
    try:
        with fresh_folder(out) as place:
            yield place
    except OSError as error:
        raise UserError(f'{option} {out}: {error.strerror or error}'.strip()) from error


@contextlib.contextmanager
def fresh_folder(out: Path, existing: str = 'merge') -> Iterator[Path]:
    """A folder to write into, beside ``out``, that becomes ``out`` when the block succeeds.

    If the block fails, ``out`` is unchanged, and parent folders that were created are removed.

    Args:
        out: the folder to make.
        existing: of an existing ``out``, ``'merge'`` replaces entries of the same name, ``'keep'``
        leaves all, for several processes that make the same, ``'replace'`` removes it.

    Raises:
        OSError: if it cannot be written.
    """
    made = [p for p in out.parents if not p.exists()]  # nearest first
    place = old = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=out.parent, prefix=f'.{out.name}.', suffix='.tmp'))
        yield place
        place.chmod(0o777 & ~_umask())
        if existing == 'merge' and out.exists():
            for item in place.iterdir():
                target = out / item.name
                if target.is_dir():
                    shutil.rmtree(target)
                os.replace(item, target)
            return
        if existing == 'replace' and out.exists():
            old = place.with_suffix('.old')
            os.replace(out, old)
        try:
            os.replace(place, out)
        except OSError:
            if existing != 'keep' or not out.is_dir():
                raise
    finally:
        if old and not out.exists():
            os.replace(old, out)
        for folder in filter(None, (place, old)):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in made if not out.exists() else ():
                parent.rmdir()


def check_folder(option: str, path: str | os.PathLike) -> None:
    """Raise :class:`UserError` unless ``path`` is a writable folder, or can be created."""
    path = Path(path).expanduser().absolute()
    there = next(p for p in (path, *path.parents) if os.path.lexists(p))
    if not there.is_dir():
        raise UserError(f'{option} {path}: {there} is a file, not a folder; choose another folder')
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f'{option} {path}: no permission to write to {there}; choose another one')
    try:  # root may write everywhere, but not into /proc
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise UserError(f'{option} {path}: {there} takes no files ({error.strerror})') from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
