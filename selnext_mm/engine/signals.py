"""Requests to stop by SIGTERM, SIGUSR1 or Ctrl-C, before and during the training.

Imports no torch, so that :func:`stop_early` is in place before the imports that take seconds.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selnext_mm.errors import STOPPED

# Windows has no SIGUSR1.
SIGUSR1 = getattr(signal, 'SIGUSR1', None)
SIGNALS = tuple(number for number in (signal.SIGTERM, SIGUSR1) if number is not None)
# signal -> exit status after the state was saved
CODES = {**dict.fromkeys(SIGNALS, STOPPED), signal.SIGINT: 130}
# Blocked in a worker until its shield is up. Without sigtimedwait, as on macOS, the SIGTERM with
# which multiprocessing ends a worker could not be recognised; Windows has no signal masks.
HELD = {signal.SIGINT, *SIGNALS} if hasattr(signal, 'pthread_sigmask') else set()
if not hasattr(signal, 'sigtimedwait'):
    HELD.discard(signal.SIGTERM)
MARKER = 'SELNEXT_MM_STOPPED_FILE'  # variable: path of a file that requests a restart of the job
PATIENCE = 1.0  # seconds in which python may react itself
END = 255  # no signal
# torchrun passes Ctrl-C on to processes that got it from the terminal already.
INSIST_AFTER = 2.0
LOOK_FOR_PARENT = 2.0  # seconds between a worker's checks for its parent


def leave_marker(number: int, together: bool) -> None:
    """Let ``tools/slurm_train.sh`` know that the job was asked to stop, whatever srun returns.

    SIGTERM counts only if it is known to concern the whole job (``together``). If one process
    fails, Slurm sends SIGTERM to the others, too, and that job must not be restarted.
    """
    path = os.environ.get(MARKER)
    alone = os.environ.get('SLURM_NTASKS', '1') == '1'
    if path and (together or alone or number == SIGUSR1):
        with contextlib.suppress(OSError):
            Path(path).touch()


def _tell(number: int) -> None:
    name = signal.Signals(number).name
    leave_marker(number, together=False)
    text = f'told to stop by {name}; no training runs, nothing is to be saved\n'
    with contextlib.suppress(OSError):
        os.write(2, text.encode())  # sys.stderr may be in the middle of another line


def _watch(descriptor: int, take, acted: threading.Event) -> None:
    """End the process if ``take``, python's handler, cannot run because C++ code is blocking."""
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
    """Inside it, SIGTERM and SIGUSR1 end the process with status 75 instead of 143 and 138.

    Handlers that are installed inside it, such as the training's, take precedence. It does nothing
    outside the main thread, where python cannot handle signals. If a library turns the interruption
    into another error, as mmengine does while formatting a config, this counts as the interruption.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process, acted, interrupted = os.getpid(), threading.Event(), threading.Event()

    def take(number: int, frame) -> None:
        if os.getpid() != process:  # a forked worker
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        acted.set()
        _tell(number)
        raise SystemExit(STOPPED)

    def interrupt(number: int, frame) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    former = {number: signal.signal(number, take) for number in SIGNALS}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        former[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _forget_in_children()
    threading.Thread(target=_watch, args=(read, take, acted), daemon=True).start()
    try:
        yield
    except Exception as error:
        if acted.is_set():
            raise SystemExit(STOPPED) from error
        if interrupted.is_set():
            raise KeyboardInterrupt from error
        raise
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
    if hasattr(os, 'register_at_fork'):  # not on Windows, which cannot fork
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


class Stopped(SystemExit):
    """The run was asked to stop, and did so with its state saved.

    As a ``SystemExit`` it needs no handler: the process ends with ``code``, 75 after SIGTERM
    and SIGUSR1 (EX_TEMPFAIL: to be resumed), 130 after Ctrl-C.
    """


class StopSignals:
    """Handles the signals and remembers the first one; Ctrl-C 2 s later acts at once.

    Schedulers send SIGUSR1 and then SIGTERM while the state is being saved, so only a repeated
    Ctrl-C counts as insistence.

    Forked data-loader workers inherit the handlers and do nothing. torch installs its own handler
    for SIGTERM there, see :func:`shield_workers`.
    """

    def __init__(self) -> None:
        self.received = 0
        self._when = 0.0
        self._process = 0
        self._former: dict = {}

    def install(self) -> None:
        """Install the handlers; does nothing outside the main thread, where python forbids it."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        for number in CODES:
            self._former.setdefault(number, signal.signal(number, self._take))

    def remove(self) -> None:
        """Restore the previous handlers."""
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
    """A ``worker_init_fn``: the worker reacts to signals from its own process only.

    torchrun, schedulers and terminals signal the workers, too. The iteration that is to be finished
    needs their images, but torch lets SIGTERM kill them, and then the run fails. Until this runs,
    the signals are blocked, see :func:`shield_workers`.
    """

    def __init__(self, inner) -> None:
        self.inner = inner

    def __call__(self, worker: int) -> None:
        # This comes first: with the signals blocked and nothing waiting for them, a worker that
        # fails in ``inner`` could not be terminated by its parent.
        for number in {signal.SIGINT, SIGUSR1} - {None}:
            signal.signal(number, signal.SIG_IGN)  # discards a pending one
        if hasattr(signal, 'sigtimedwait'):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_end_with_parent, daemon=True).start()
        if HELD:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD - {signal.SIGTERM})
        if self.inner is not None:
            self.inner(worker)


def _end_with_parent() -> None:
    """Wait for a SIGTERM of the parent, with which multiprocessing ends its children, or its death.

    torch's workers notice that their parent was killed, but one that has a batch to deliver then
    waits forever for a reader.
    """
    parent = multiprocessing.parent_process()
    started_by = os.getppid()  # a forkserver, if there is one; it dies with the parent
    while os.getppid() == started_by and (parent is None or parent.is_alive()):
        received = signal.sigtimedwait({signal.SIGTERM}, LOOK_FOR_PARENT)
        if received is not None and received.si_pid in (started_by, parent and parent.pid):
            break
    os._exit(0)


@contextlib.contextmanager
def _held_back(context) -> Iterator[None]:
    """Processes started inside it begin with the signals blocked.

    In this process signals arrive late, but none is lost. A forkserver that is started inside it
    passes the mask on to all that it forks. One that is already running has its own mask, so its
    workers are protected only from their ``worker_init_fn`` on.
    """
    if not HELD:
        yield
        return
    if context.get_start_method() != 'fork':
        from multiprocessing import resource_tracker

        # Started inside, it would unblock SIGTERM and SIGINT afterwards (python < 3.13).
        resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@functools.cache
def _holding_signals_back(kind: Any) -> type:
    """A subclass of a ``DataLoader`` whose workers start with the signals blocked."""

    class Holding(kind):
        def __iter__(self):
            with _held_back(self.multiprocessing_context or multiprocessing.get_context()):
                return super().__iter__()

    Holding.__name__, Holding.__qualname__ = kind.__name__, kind.__qualname__
    return Holding


def shield_workers(loader) -> None:
    """Keep signals from the workers that ``loader`` is going to start; may be called twice.

    This holds from their first instruction on: the signals are blocked while the workers are
    started, then :class:`ShieldedWorkers` takes over. It does nothing on Windows, which sends no
    signals. On macOS SIGTERM cannot be told apart from the parent's, so torch's handler stays.
    """
    from torch.utils.data import DataLoader

    if not isinstance(loader, DataLoader) or not loader.num_workers:
        return
    if not isinstance(loader.worker_init_fn, ShieldedWorkers):
        loader.worker_init_fn = ShieldedWorkers(loader.worker_init_fn)
        kind: Any = type(loader)
        loader.__class__ = _holding_signals_back(kind)
