import argparse

import pytest

from selnext_mm.cli.arguments import Options
from selnext_mm.disk import check_folder
from selnext_mm.engine.distributed.launch import LAUNCHERS, check_launcher
from selnext_mm.errors import UserError


def parse(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Options)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def test_options_are_read_as_mmengine_does():
    assert parse('a.b=1', 'c=x,y', "d=[(1,2),'e=f']") == {
        'a.b': 1,
        'c': ['x', 'y'],
        'd': [(1, 2), 'e=f'],
    }


@pytest.mark.parametrize('word', ['lr', '=3', 'a=[1,(2'])
def test_words_that_are_no_options_are_an_error_of_the_command_line(word, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(word)
    assert caught.value.code == 2
    assert '--cfg-options' in capsys.readouterr().err


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_a_launcher_needs_its_variables(launcher, monkeypatch):
    names, script = LAUNCHERS[launcher]
    for name in names:
        monkeypatch.setenv(name, '1')
    check_launcher(launcher)
    monkeypatch.delenv(names[0])
    with pytest.raises(UserError, match=rf'{names[0]} not set.*{script.split()[0]}'):
        check_launcher(launcher)


def test_a_folder_that_is_none(tmp_path):
    check_folder('--out', tmp_path / 'new' / 'deeper')
    (tmp_path / 'file').touch()
    for path in ('file', 'file/deeper'):
        with pytest.raises(UserError, match='is a file, not a folder'):
            check_folder('--out', tmp_path / path)
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='not a folder'):
        check_folder('--out', tmp_path / 'link')
