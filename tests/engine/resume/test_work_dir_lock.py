"""One training per work dir, whichever way the other one ends."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from selnext_mm.cli import train
from selnext_mm.engine.resume import work_dir_lock
from selnext_mm.engine.resume.work_dir_lock import WorkDirLock
from selnext_mm.errors import UserError

HOLDER = """
import os, sys, time
from selnext_mm.engine.resume.work_dir_lock import WorkDirLock
lock = WorkDirLock(sys.argv[1])
lock.acquire()
worker = os.fork()  # as a data loader does
if worker:
    print(worker, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(work_dir_lock, 'PATIENCE', 0.3)


@pytest.fixture
def other(tmp_path):
    """Another process with a forked worker that holds ``tmp_path``; and the worker's id."""
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(process.stdout.readline())
    yield process, worker
    process.kill()
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    process.stdout.close()


def test_a_second_training_is_refused_until_the_first_is_gone(tmp_path, other):
    process, worker = other
    lock = WorkDirLock(tmp_path)
    with pytest.raises(UserError, match=r'another training is running in .*--work-dir'):
        lock.acquire()
    process.kill()
    process.wait()
    os.kill(worker, 0)  # the orphaned worker is still there, and holds nothing
    lock.acquire()
    lock.release()
    assert not list(tmp_path.iterdir()), 'a file was left'


def test_released_it_is_free(tmp_path):
    first, second = WorkDirLock(tmp_path), WorkDirLock(tmp_path)
    first.acquire()
    first.acquire()
    with pytest.raises(UserError):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_folder_that_is_not_there_and_other_processes_of_a_job(tmp_path, monkeypatch):
    WorkDirLock(tmp_path / 'none').acquire()
    assert not list(tmp_path.iterdir())
    first = WorkDirLock(tmp_path)
    first.acquire()
    monkeypatch.setenv('RANK', '1')
    WorkDirLock(tmp_path).acquire()
    first.release()


def test_a_disk_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def flock(fd, operation):
        raise OSError(9, 'Bad file descriptor')

    opened = len(os.listdir('/proc/self/fd'))
    monkeypatch.setattr(work_dir_lock.fcntl, 'flock', flock)
    lock = WorkDirLock(tmp_path)
    lock.acquire()
    assert lock.fd is None
    assert len(os.listdir('/proc/self/fd')) == opened, 'a descriptor was left open'


def test_the_command_leaves_the_folder_of_another_training_alone(tmp_path, shapes_root):
    (tmp_path / 'epoch_3.pth').write_bytes(b'theirs')
    (tmp_path / 'last_checkpoint').write_text('epoch_3.pth')
    lock = WorkDirLock(tmp_path)
    lock.acquire()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    config = 'mask_rcnn/selnext_atto_shapes.py'
    with pytest.raises(UserError, match='another training is running'):
        train.main([config, '--data-root', str(shapes_root), '--work-dir', str(tmp_path)])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    lock.release()
