"""SIGTERM and SIGUSR1 before the training: status 75, in python and while a library waits."""

import os
import signal
import subprocess
import sys
import time

import pytest

from selnext_mm.engine.signals import MARKER, leave_marker, stop_early

# The module alone: the package takes seconds to import.
PROGRAM = """
import os, signal, socket, sys, time, types
sys.modules['selnext_mm'] = types.ModuleType('selnext_mm')
sys.modules['selnext_mm'].__path__ = [sys.argv[1]]
from selnext_mm.engine.signals import stop_early

def wait(seconds):
    # In short steps: a signal that comes between python's look for one and the sleep is only
    # handled after the sleep.
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)

# Shells have jobs in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

@stop_early()
def main(kind, number):
    if kind == 'trained':
        signal.signal(number, lambda *_: print('handler of the training', flush=True))
    if kind == 'forked':
        child = os.fork()
        if not child:
            print('ready', flush=True)
            wait(60)
        print('child', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        wait(1.5)  # longer than the watch waits
        return
    print('ready', flush=True)
    if kind == 'library':
        # As a library that waits without python: the handler's turn does not come.
        import ctypes
        libc = ctypes.CDLL(None)
        while True:
            libc.sleep(60)
    if kind == 'turned':
        try:
            wait(60)
        except BaseException as error:
            raise SyntaxError('Failed to format the config file') from error
    wait(2 if kind == 'trained' else 60)

main(sys.argv[2], int(sys.argv[3]))
print('end', flush=True)
"""


def start(root, kind, number, **env):
    return subprocess.Popen(
        [sys.executable, '-c', PROGRAM, root / 'selnext_mm', kind, str(int(number))],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize('kind', ['python', 'library'])
def test_the_status_is_that_of_a_stop(root, tmp_path, number, kind):
    env = {MARKER: str(tmp_path / 'stopped'), 'SLURM_NTASKS': '4'}
    process = start(root, kind, number, **env)
    assert process.stdout.readline() == 'ready\n'
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (75, '')
    assert f'told to stop by {number.name}' in err
    assert 'Traceback' not in err
    # SIGTERM may come from the failure of another task.
    assert (tmp_path / 'stopped').exists() == (number == signal.SIGUSR1)


def test_the_handlers_of_the_training_come_first(root):
    process = start(root, 'trained', signal.SIGTERM)
    assert process.stdout.readline() == 'ready\n'
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, 'handler of the training\nend\n'), err


def test_a_signal_to_a_forked_worker_is_not_one_to_its_parent(root):
    process = start(root, 'forked', signal.SIGTERM)
    assert process.stdout.readline() == 'ready\n'
    (worker,) = map(int, _children(process.pid))
    os.kill(worker, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f'child {-signal.SIGTERM}\nend\n'), err


def _children(pid):
    with open(f'/proc/{pid}/task/{pid}/children') as file:
        return file.read().split()


def test_the_signals_are_given_back():
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
    with stop_early():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize(
    ('number', 'together', 'tasks', 'left'),
    [
        (signal.SIGTERM, False, '4', False),
        (signal.SIGTERM, True, '4', True),
        (signal.SIGTERM, False, '1', True),
        (signal.SIGUSR1, False, '4', True),
    ],
)
def test_the_marker_is_left_by_what_concerns_the_whole_job(
    tmp_path, monkeypatch, number, together, tasks, left
):
    monkeypatch.setenv(MARKER, str(tmp_path / 'stopped'))
    monkeypatch.setenv('SLURM_NTASKS', tasks)
    leave_marker(number, together)
    assert (tmp_path / 'stopped').exists() == left


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='Linux only')
def test_told_to_stop_during_the_imports(root):
    process = subprocess.Popen([sys.executable, root / 'tools/train.py', 'no-such-config'])
    taken = 0
    while not taken and process.poll() is None:
        with open(f'/proc/{process.pid}/status') as file:
            (mask,) = [line.split()[1] for line in file if line.startswith('SigCgt')]
        taken = int(mask, 16) >> (signal.SIGTERM - 1) & 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75


@pytest.mark.skipif(not hasattr(signal, 'sigtimedwait'), reason='Linux only')
@pytest.mark.parametrize('method', ['fork', 'spawn', 'forkserver'])
def test_a_worker_is_shielded_from_its_birth(root, method):
    """Its batches come, the parent loses no signal of its own and blocks none afterwards."""
    result = subprocess.run(
        [sys.executable, root / 'tests/engine/toy_born_signalled.py', method],
        capture_output=True,
        text=True,
        timeout=120,
    )
    passes = 2 if method == 'fork' else 1
    assert result.stdout == passes * '0 1 2 3\n' + 'SIGUSR1 nothing\n', result.stderr[-2000:]
    assert (result.returncode, result.stderr) == (0, '')


@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGTERM, 75), (signal.SIGINT, -signal.SIGINT)]
)
def test_an_error_that_a_library_makes_of_the_stop_is_no_error(root, number, status):
    process = start(root, 'turned', number)
    assert process.stdout.readline() == 'ready\n'
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == status, err
    if number == signal.SIGTERM:
        assert 'Traceback' not in err


def test_ctrl_c_has_pythons_own_handler_again_afterwards():
    before = signal.getsignal(signal.SIGINT)
    with stop_early():
        pass
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ValueError, match='its own'), stop_early():
        raise ValueError('its own')
