"""A file is as it was or complete: full disks, limits and kills, most of them real."""

import errno
import multiprocessing
import os
import resource
import signal
import stat
import struct
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selnext_mm.checkpoints.integrity import damage, write_checkpoint
from selnext_mm.disk import temporary_files, temporary_path, write_atomically, write_text
from selnext_mm.errors import UserError

OLD, NEW = dict(a=torch.zeros(1000)), dict(a=torch.ones(200_000))


@pytest.fixture
def path(tmp_path):
    return write_checkpoint(OLD, tmp_path / 'epoch_1.pth')


def load(path):
    return torch.load(path, weights_only=True)['a']


def test_writes_and_replaces(path):
    assert torch.equal(load(path), OLD['a'])
    write_checkpoint(NEW, path)
    assert torch.equal(load(path), NEW['a'])
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert damage(path) is None


def in_child(function, *args):
    """Exit status of ``function`` in a forked process."""
    process = multiprocessing.get_context('fork').Process(target=function, args=args)
    process.start()
    process.join(60)
    return process.exitcode


def write_with_limit(path, queue):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        write_checkpoint(NEW, path)
    except UserError as error:
        queue.put(str(error))


@pytest.mark.integration
def test_a_file_size_limit_leaves_the_old_file(path):
    """The limit of the kernel, in a process of its own."""
    queue = multiprocessing.get_context('fork').SimpleQueue()
    assert in_child(write_with_limit, path, queue) == 0
    message = queue.get()
    assert str(path) in message
    assert 'file-size limit' in message
    assert 'files may have 0.1 MB' in message
    assert 'free in' in message
    assert torch.equal(load(path), OLD['a'])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full (Linux)')
def test_a_full_disk_leaves_the_old_file(path, monkeypatch):
    """/dev/full answers every write as a full disk does."""
    monkeypatch.setattr(
        'selnext_mm.disk.temporary_path',
        lambda target: target.with_name('full.tmp'),
    )
    (path.parent / 'full.tmp').symlink_to('/dev/full')
    with pytest.raises(UserError, match='the disk is full') as caught:
        write_checkpoint(NEW, path)
    assert str(path) in str(caught.value)
    assert 'MB free in' in str(caught.value)
    assert torch.equal(load(path), OLD['a'])


def test_a_late_error_of_the_disk_counts(path, monkeypatch):
    """A quota may show only when the data reach the disk."""

    def fsync(descriptor):
        raise OSError(errno.EDQUOT, 'Disk quota exceeded')

    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(UserError, match='quota'):
        write_checkpoint(NEW, path)
    assert torch.equal(load(path), OLD['a'])
    assert not temporary_files(path.parent)


def write_slowly(path):
    def write(file):
        for _ in range(1000):
            file.write(b'x' * 1000)
            file.flush()
            time.sleep(0.01)

    write_atomically(path, write)


@pytest.mark.integration
def test_a_kill_during_the_write_leaves_the_old_file(path):
    process = multiprocessing.get_context('fork').Process(target=write_slowly, args=(path,))
    process.start()
    while not any(p.stat().st_size for p in temporary_files(path.parent)):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert torch.equal(load(path), OLD['a'])
    (rest,) = temporary_files(path.parent)
    assert rest.name.startswith('.epoch_1.pth.')


def test_what_does_not_read_back_does_not_count(path):
    def write(file):
        file.write(b'PK\x03\x04 and nothing else')

    with pytest.raises(UserError, match='does not read back: truncated'):
        write_atomically(path, write, verify=damage)
    assert torch.equal(load(path), OLD['a'])


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='could not be written'):
        write_text(tmp_path / 'file' / 'pointer', 'x')


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_seen(tmp_path):
    path = write_checkpoint(NEW, tmp_path / 'a.pth')
    flip(path, path.stat().st_size // 2)
    assert 'checksum' in damage(path)
    # The reason for a check of our own: torch silently reads the wrong number.
    assert not torch.equal(load(path), NEW['a'])


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.99, 0.999])
def test_a_cut_file_is_seen(tmp_path, share):
    path = write_checkpoint(NEW, tmp_path / 'a.pth')
    os.truncate(path, int(path.stat().st_size * share))
    assert damage(path) in ('empty', 'truncated or not a checkpoint')


def test_other_files_are_not_checkpoints(tmp_path):
    (tmp_path / 'text').write_text('no checkpoint')
    assert damage(tmp_path / 'text') == 'truncated or not a checkpoint'
    assert damage(tmp_path / 'none') == 'no such file'
    assert damage(tmp_path) == 'no such file'


def test_temporary_files_are_told_from_others(tmp_path):
    for name in ('.a.tmp', 'b.1.tmp', '.hidden'):
        (tmp_path / name).touch()
    temporary = temporary_path(tmp_path / 'epoch_1.pth')
    temporary.touch()
    assert temporary_files(tmp_path) == [temporary]


def test_mmengine_writes_through_it(tmp_path, monkeypatch):
    """Also with its own hook, in a config that names nothing of ours."""
    from mmengine.runner import save_checkpoint

    monkeypatch.setattr('selnext_mm.checkpoints.integrity.damage', lambda path: 'seen')
    with pytest.raises(UserError, match='seen'):
        save_checkpoint(OLD, str(tmp_path / 'a.pth'))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('number', [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_folder_that_cannot_be_synced(path, monkeypatch, number):
    """Some file systems have no such call; the file is there all the same."""
    fsync = os.fsync

    def no_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', no_folders)
    if number == errno.EIO:
        with pytest.raises(UserError, match='is written, but'):
            write_checkpoint(NEW, path)
    else:
        write_checkpoint(NEW, path)
    assert torch.equal(load(path), NEW['a'])


@settings(max_examples=300, deadline=None, database=None)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), end=st.booleans()
)
def test_whatever_bytes_were_changed_damage_is_a_text(tmp_path_factory, changes, end):
    """``end``: only in the last tenth, where the list of the archive's parts is."""
    path = tmp_path_factory.getbasetemp() / 'fuzzed.pth'
    torch.save(OLD, path)
    data = bytearray(path.read_bytes())
    for place, byte in changes:
        place = 0.9 + place / 10 if end else place
        data[min(int(place * len(data)), len(data) - 1)] = byte
    path.write_bytes(data)
    assert damage(path) is None or len(damage(path)) > 3


@pytest.mark.parametrize(
    'error', [ValueError('x'), UnicodeDecodeError('utf-8', b'x', 0, 1, 'x'), struct.error('x')]
)
def test_what_zipfile_does_not_announce_is_damage_too(path, monkeypatch, error):
    def testzip(self):
        raise error

    monkeypatch.setattr('zipfile.ZipFile.testzip', testzip)
    assert 'cannot be read' in damage(path)
