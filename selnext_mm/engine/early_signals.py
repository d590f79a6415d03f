"""Being told to stop before there is anything to save: status 75 all the same.

Without torch, so that it is in place before the imports that take long.
"""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from selnext_mm.errors import STOPPED

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
MARKER = 'SELNEXT_MM_STOPPED_FILE'  # variable: a file that says that the job is to be started again
PATIENCE = 1.0  # seconds for python to act by itself
END = 255  # no signal


def leave_marker(number: int, together: bool) -> None:
    """Tell ``tools/slurm_train.sh`` that the job was told to stop, whatever srun returns.

    SIGTERM counts only if it is known to concern the whole job (``together``): Slurm sends it to
    the other processes of one that has failed, too, and that job must not be started again.
    """
    path = os.environ.get(MARKER)
    alone = os.environ.get('SLURM_NTASKS', '1') == '1'
    if path and (together or alone or number == signal.SIGUSR1):
        with contextlib.suppress(OSError):
            Path(path).touch()


def _tell(number: int) -> None:
    name = signal.Signals(number).name
    leave_marker(number, together=False)
    text = f'told to stop by {name}; no training runs, nothing is to be saved\n'
    with contextlib.suppress(OSError):
        os.write(2, text.encode())  # sys.stderr may be in the middle of another line


def _watch(descriptor: int, take, acted: threading.Event) -> None:
    """End the process if ``take``, python's handler, cannot run: a library in C++ waits."""
    while True:
        number = os.read(descriptor, 1)[0]
        if number == END:
            os.close(descriptor)
            return
        if number not in SIGNALS or signal.getsignal(number) is not take:
            continue
        if not acted.wait(PATIENCE) and signal.getsignal(number) is take:
            _tell(number)
            os._exit(STOPPED)


@contextlib.contextmanager
def stop_early() -> Iterator[None]:
    """Within it SIGTERM and SIGUSR1 end the process with status 75 instead of 143 and 138.

    Handlers that are put in place within it, as those of the training, come first. Does nothing
    outside the main thread, where python cannot take signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process, acted = os.getpid(), threading.Event()

    def take(number: int, frame) -> None:
        if os.getpid() != process:  # a forked worker
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        acted.set()
        _tell(number)
        raise SystemExit(STOPPED)

    former = {number: signal.signal(number, take) for number in SIGNALS}
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _forget_in_children()
    threading.Thread(target=_watch, args=(read, take, acted), daemon=True).start()
    try:
        yield
    finally:
        if os.getpid() == process:
            signal.set_wakeup_fd(wakeup)
            os.write(write, bytes([END]))
            os.close(write)
        for number, handler in former.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@functools.cache
def _forget_in_children() -> None:
    """A signal to a forked worker must not look like one to its parent."""
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
