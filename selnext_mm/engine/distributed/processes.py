"""A command in separate processes: N of them by torchrun (``--gpus N``), or one (the demo)."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import selnext_mm
from selnext_mm.errors import STOPPED, UserError

# Signals that torchrun passes on to its processes; any other kills it, with nothing saved.
SIGNALS = 'SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1'


def in_process_group() -> bool:
    """Whether this process was started as one of several."""
    return 'RANK' in os.environ


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the previous signal handlers; torchrun leaves its own in place."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in SIGNALS.split(',') if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def start_processes(command: str, argv: list[str], number: int) -> int:
    """Run ``selnext-mm COMMAND ARGV`` in ``number`` processes by torchrun; return the exit status.

    Raises:
        UserError: for more processes than GPUs, if there are GPUs, or for a number below 1.
    """
    import torch
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    present = torch.cuda.device_count()
    if number < 1 or 0 < present < number:
        here = f'this machine has {present}' if present else 'expected 1 or more'
        raise UserError(f'--gpus {number}: {here}')
    os.environ.setdefault('PET_SIGNALS_TO_HANDLE', SIGNALS)  # torch 2.9 and later
    os.environ.setdefault('TORCHELASTIC_SIGNALS_TO_HANDLE', SIGNALS)  # before
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // number)))
    # In a checkout that is not installed, the processes have to find the package, too.
    root = str(Path(selnext_mm.__file__).resolve().parents[1])
    paths = [root, *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    os.environ['PYTHONPATH'] = os.pathsep.join(paths)
    words = ['--standalone', '--nproc_per_node', str(number), '-m', 'selnext_mm', command, *argv]
    try:
        with _handlers_kept():
            torchrun.run(torchrun.parse_args(words))
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException:
        return STOPPED
    return 0


def _from_terminal() -> bool:
    """Whether Ctrl-C reaches this process and its children at the same time."""
    if not hasattr(os, 'tcgetpgrp'):
        return True  # on Windows a console does, and nothing else can send it
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # no terminal
        return False


def run_command(command: str, *arguments: str) -> int:
    """Run ``selnext-mm COMMAND ARGUMENTS`` in a process; return its exit status.

    Signals are passed on, and the process is waited for, so that a training saves its state.
    """
    words = [sys.executable, '-m', 'selnext_mm', command, *arguments]
    with _handlers_kept():
        child: subprocess.Popen | None = None
        early: list[int] = []

        def pass_on(number: int, frame) -> None:
            if child is None:
                early.append(number)
            elif number != signal.SIGINT or not _from_terminal():
                child.send_signal(number)

        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS.split(','):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), pass_on)
        child = subprocess.Popen(words)
        for number in early:
            child.send_signal(number)
        code = child.wait()
    return code if code >= 0 else 128 - code
