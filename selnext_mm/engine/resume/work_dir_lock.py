"""One training per work dir: two would overwrite and remove each other's checkpoints."""

import os
import time
from pathlib import Path

import filelock

from selnext_mm.errors import UserError
from selnext_mm.ranks import is_first_process

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FILE = '.training.lock'  # where folders cannot be locked
# A process that was killed a moment ago may still hold it.
PATIENCE = 10.0

_held: set[int] = set()


def _close_in_child() -> None:
    """Data-loader workers outlive a killed training for some seconds, but the lock must not."""
    while _held:
        os.close(_held.pop())


if hasattr(os, 'register_at_fork'):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_close_in_child)


class WorkDirBusyError(UserError):
    """Another training holds the work dir."""


class WorkDirLock:
    """The exclusive right to train in ``work_dir``, until :meth:`release` or the process ends.

    It is a lock on the folder itself, which leaves no file and ends with the process. On Windows,
    which cannot lock folders, it is on the file ``.training.lock`` in it. The first process of a
    job holds it for all. File systems that do not support such locks are not locked.
    """

    def __init__(self, work_dir: str | Path) -> None:
        self.work_dir = Path(work_dir)
        self.fd: int | None = None
        self.file: filelock.BaseFileLock | None = None

    @property
    def held(self) -> bool:
        return self.fd is not None or self.file is not None

    def acquire(self, patience: float | None = None) -> None:
        """Acquire the lock if the folder exists, within ``patience`` seconds (default: 10).

        Raises:
            WorkDirBusyError: if another training holds it.
        """
        if self.held or not is_first_process() or not self.work_dir.is_dir():
            return
        patience = PATIENCE if patience is None else patience
        if fcntl is None:
            self._acquire_file(patience)
            return
        fd = os.open(self.work_dir, os.O_RDONLY)
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                os.close(fd)
                raise self._taken() from None
            except OSError:
                os.close(fd)
                return
            break
        self.fd = fd
        _held.add(fd)

    def _taken(self) -> WorkDirBusyError:
        return WorkDirBusyError(
            f'another training is running in {self.work_dir}; choose another folder with '
            '--work-dir, or stop that one first'
        )

    def _acquire_file(self, patience: float) -> None:
        lock = filelock.FileLock(self.work_dir / FILE, timeout=patience)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise self._taken() from None
        except (OSError, NotImplementedError):
            return
        self.file = lock

    def release(self) -> None:
        """Release the lock."""
        if self.file is not None:
            self.file.release()
            self.file = None
        if self.fd in _held:
            _held.discard(self.fd)
            os.close(self.fd)
        self.fd = None
