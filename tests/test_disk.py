"""Folders and files that are whole or not there. Single files: checkpoints/test_integrity.py."""

import os
import stat

import pytest

from selnext_mm.disk import fresh_folder, new_file, new_folder, write_output
from selnext_mm.errors import UserError


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob('*') if p.is_file()
    }


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / 'out'
    (folder / 'pictures').mkdir(parents=True)
    (folder / 'a.txt').write_text('old')
    (folder / 'pictures/1.txt').write_text('old')
    return folder


def write(folder):
    (folder / 'pictures').mkdir()
    (folder / 'pictures/2.txt').write_text('new')
    (folder / 'b.txt').write_text('new')


OLD = {'a.txt': 'old', 'pictures/1.txt': 'old'}
NEW = {'b.txt': 'new', 'pictures/2.txt': 'new'}


@pytest.mark.parametrize(
    ('existing', 'expected'),
    [('merge', {'a.txt': 'old', **NEW}), ('keep', OLD), ('replace', NEW)],
)
def test_what_becomes_of_a_folder_that_is_there(old, existing, expected):
    with fresh_folder(old, existing) as place:
        write(place)
        assert tree(old) == OLD, 'nothing changes before the end'
    assert tree(old) == expected
    assert [p.name for p in old.parent.iterdir()] == ['out']


@pytest.mark.parametrize('existing', ['merge', 'keep', 'replace'])
def test_a_new_folder_has_the_usual_permissions(tmp_path, existing):
    with fresh_folder(tmp_path / 'a/b', existing) as place:
        write(place)
    assert tree(tmp_path / 'a/b') == NEW
    (tmp_path / 'usual').mkdir()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ('a/b', 'usual')}
    assert len(modes) == 1


@pytest.mark.parametrize('existing', ['merge', 'keep', 'replace'])
@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError(28, 'No space left on device')])
def test_a_block_that_fails_changes_nothing(old, tmp_path, existing, error):
    def fail(folder):
        with fresh_folder(folder, existing) as place:
            write(place)
            raise error

    for folder in (old, tmp_path / 'x/y/z'):
        with pytest.raises(type(error) if isinstance(error, OSError) else error):
            fail(folder)
    assert tree(old) == OLD
    assert [p.name for p in tmp_path.iterdir()] == ['out'], 'folders that were made are gone'


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(old, monkeypatch):
    replace = os.replace

    def fail(source, target):
        if os.fspath(source).endswith('.tmp'):
            raise OSError(16, 'Device or resource busy')
        replace(source, target)

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='busy'), fresh_folder(old, 'replace') as place:
        write(place)
    assert tree(old) == OLD
    assert [p.name for p in old.parent.iterdir()] == ['out']


def test_a_folder_below_a_file_is_a_mistake(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(UserError, match=r'--out .*file is a file, not a folder'):  # noqa: SIM117
        with new_folder(tmp_path / 'file/a', '--out'):
            raise AssertionError('not reached')


def test_a_new_file_and_those_beside_it_appear_together(tmp_path):
    out = tmp_path / 'new' / 'model.xml'
    with new_file(out, '--out', '.bin') as path:
        path.write_text('graph')
        path.with_suffix('.bin').write_text('weights')
        assert not out.exists()
    assert tree(tmp_path) == {'new/model.xml': 'graph', 'new/model.bin': 'weights'}

    def fail():
        with new_file(out, '--out', '.bin') as path:
            path.write_text('half')
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert tree(tmp_path) == {'new/model.xml': 'graph', 'new/model.bin': 'weights'}


def test_a_file_that_an_option_names(tmp_path, capfd):
    out = tmp_path / 'rows.json'
    write_output('--json', out, 'ü\n')
    write_output('--json', out, 'two\n')
    assert tree(tmp_path) == {'rows.json': 'two\n'}
    link = tmp_path / 'link.json'
    link.symlink_to(out)
    write_output('--json', link, 'three\n')
    assert link.is_symlink()
    assert out.read_text() == 'three\n', 'the file that a link leads to is written'
    for path, reason in (
        (tmp_path / 'no/a.json', 'No such file'),
        (out / 'a.json', 'Not a directory'),
        (tmp_path, 'Is a directory'),
    ):
        with pytest.raises(UserError, match=rf'--json .* could not be written: {reason}.*; name'):
            write_output('--json', path, 'x')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['link.json', 'rows.json']


def test_a_pipe_stays_a_pipe(tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_output('--json', pipe, 'text\n')
        assert os.read(reader, 100) == b'text\n'
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
