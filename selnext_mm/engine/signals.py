"""Being told to stop: SIGTERM, SIGUSR1 and Ctrl-C end the run after the iteration."""

import os
import signal
import threading
import time

from torch.utils.data import DataLoader

from selnext_mm.errors import STOPPED

# signal -> exit status after the state was saved
CODES = {signal.SIGTERM: STOPPED, signal.SIGUSR1: STOPPED, signal.SIGINT: 130}
# torchrun passes Ctrl-C on to processes that got it from the terminal already.
INSIST_AFTER = 2.0
LOOK_FOR_PARENT = 2.0  # seconds between a worker's looks for its process


class Stopped(SystemExit):
    """The run was told to stop, and did so with its state saved.

    As a ``SystemExit`` it needs no handler: the process ends with ``code``, 75 after SIGTERM
    and SIGUSR1 (EX_TEMPFAIL: to be resumed), 130 after Ctrl-C.
    """


class StopSignals:
    """Takes the signals and remembers the first one; Ctrl-C 2 s after it acts at once.

    Schedulers send SIGUSR1 and then SIGTERM while the state is being saved; only a person insists.

    Data-loader workers that are forked inherit the handlers and do nothing. torch gives them one
    of its own for SIGTERM, see :func:`shield_workers`.
    """

    def __init__(self) -> None:
        self.received = 0
        self._when = 0.0
        self._process = 0
        self._former: dict = {}

    def install(self) -> None:
        """From now on the signals are kept. Outside the main thread python cannot take any."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        for number in CODES:
            self._former.setdefault(number, signal.signal(number, self._take))

    def remove(self) -> None:
        """Give the signals back to whoever had them."""
        while self._former:
            number, handler = self._former.popitem()
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _take(self, number: int, frame) -> None:
        if os.getpid() != self._process:
            return
        if not self.received:
            self.received, self._when = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._when > INSIST_AFTER:
            self.remove()
            signal.raise_signal(number)


class ShieldedWorkers:
    """A ``worker_init_fn``: the worker heeds its own process alone.

    torchrun, schedulers and terminals signal the workers, too. The iteration that is to be finished
    needs their images; torch lets SIGTERM kill them, and the run would die of that.
    """

    def __init__(self, inner) -> None:
        self.inner = inner

    def __call__(self, worker: int) -> None:
        if self.inner is not None:
            self.inner(worker)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        if hasattr(signal, 'sigtimedwait'):  # not on macOS, where torch's handler stays
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """Wait for a SIGTERM of ``parent``, with which multiprocessing ends its children, or its death.

    torch's workers see that their process was killed, but one that has a batch to hand over then
    waits for ever for a reader.
    """
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, LOOK_FOR_PARENT)
        if received is not None and received.si_pid == parent:
            break
    os._exit(0)


def shield_workers(loader) -> None:
    """Keep signals from the workers that ``loader`` is going to start; twice does no harm."""
    if not isinstance(loader, DataLoader) or not loader.num_workers:
        return
    if not isinstance(loader.worker_init_fn, ShieldedWorkers):
        loader.worker_init_fn = ShieldedWorkers(loader.worker_init_fn)
