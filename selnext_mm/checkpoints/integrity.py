"""Files that are either as they were or complete: write beside, sync, verify, rename."""

import contextlib
import errno
import io
import os
import re
import resource
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from selnext_mm.errors import UserError

TEMPORARY = re.compile(r'^\.(?P<name>.+)\.\d+\.tmp$')
LIMITS = {
    errno.ENOSPC: 'the disk is full',
    errno.EDQUOT: 'the disk quota is used up',
    errno.EFBIG: 'the file-size limit (ulimit -f) is reached',
    errno.EROFS: 'the file system is read-only',
}
CANNOT_SYNC = {
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EBADF,
    errno.EACCES,
}


def temporary_path(path: Path) -> Path:
    """Where the file is while it is written: hidden, in the same folder, named by process."""
    return path.with_name(f'.{path.name}.{os.getpid()}.tmp')


def temporary_files(folder: str | Path) -> list[Path]:
    """What writes that never ended left in ``folder``."""
    return sorted(p for p in Path(folder).glob('.*.tmp') if TEMPORARY.match(p.name))


def sync(path: Path) -> None:
    """Wait until ``path``, a file or a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk, where the file system can do that.

    Some of FUSE, SMB and overlays cannot, and a folder that may not be listed cannot be opened.
    """
    try:
        sync(folder)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


# What zipfile raises for archives whose bytes were changed, besides BadZipFile.
UNREADABLE = (
    OSError, EOFError, zlib.error, struct.error, NotImplementedError, RuntimeError,
    ValueError, OverflowError, LookupError,
)  # fmt: skip


class _Sink:
    """A binary file that counts what it was given and keeps the first error of the disk.

    torch.save answers a failed write with a RuntimeError of its own, which names no reason.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.error = file, 0, None

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
    write: Callable[[BinaryIO], None],
    verify: Callable[[Path], str | None] | None = None,
) -> Path:
    """Call ``write(file)`` so that ``path`` ends complete or is not touched.

    The order is: a hidden file beside ``path``, fsync, ``verify``, rename, fsync of the folder.
    A kill at any moment leaves the former ``path``, and at most the hidden file, which
    :func:`temporary_files` finds.

    Args:
        path: the file to make or replace.
        write: writes everything into the open file.
        verify: reads the finished file; returns what is wrong with it, or None.

    Raises:
        UserError: the disk does not take the file, or it does not read back; the message names
            path and space. ``path`` is as before.
    """
    path = Path(path)
    temporary = temporary_path(path)
    sink, replaced = None, False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, 'wb') as file:
            sink = _Sink(file)
            write(sink)
            file.flush()
            os.fsync(file.fileno())
            # What is read back shall come from the disk where the system can forget it.
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
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if number == errno.EFBIG and limit != resource.RLIM_INFINITY:
        facts.append(f'files may have {_megabytes(limit)}')
    space = f' ({", ".join(facts)})' if facts else ''
    return f'{path} could not be written: {text}{space}'


def full_disk(error: OSError) -> str | None:
    """One message for a disk that takes no more, whoever wrote; None for other errors.

    The error of a write names no file: it is looked up among the open files of the traceback.
    """
    if error.errno not in LIMITS:
        return None
    name, trace = error.filename, error.__traceback__
    while trace is not None and error.filename is None:
        for value in trace.tb_frame.f_locals.values():
            if isinstance(value, io.IOBase) and isinstance(getattr(value, 'name', None), str):
                name = value.name
        trace = trace.tb_next
    remedy = 'Free space or name another folder, then start again (training: with --resume)'
    path = Path(os.fsdecode(name)) if name is not None else Path.cwd() / 'a file'
    return f'{limit_reached(path, error)}. {remedy}'


def write_text(path: str | Path, text: str) -> Path:
    """``path`` with ``text`` in it, atomically."""
    return write_atomically(path, lambda file: file.write(text.encode()))


def write_checkpoint(checkpoint: Any, path: str | Path) -> Path:
    """``torch.save``, atomically, and read back before it takes the place of ``path``."""
    return write_atomically(path, lambda file: torch.save(checkpoint, file), verify=damage)


def damage(path: str | Path) -> str | None:
    """What is wrong with a file of ``torch.save``; None if every byte is as it was written.

    torch's own reader does not look at the check sums, so that a flipped bit would be loaded.
    Files from before torch 1.6 have none: they pass if they are not empty.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return 'no such file'
        if path.stat().st_size == 0:
            return 'empty'
        with open(path, 'rb') as file:
            if file.read(1) == b'\x80':
                return None
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile:
        return 'truncated or not a checkpoint'
    except UNREADABLE as error:
        return f'cannot be read ({str(error) or type(error).__name__})'
    return f'damaged: the check sum of its part {broken} is wrong' if broken else None
