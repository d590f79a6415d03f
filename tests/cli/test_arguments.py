import argparse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import DictAction

from selnext_mm.cli.arguments import Options, value_of
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


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('traffic light', 'traffic light'),
        ('traffic light, cat', ['traffic light', 'cat']),
        ("('traffic light', 'cat')", ('traffic light', 'cat')),
        ('/my runs/a.pth', '/my runs/a.pth'),
        ("'1'", '1'),
        ('"a,b.pth"', 'a,b.pth'),
        ("[dict(type='EMAHook', begin_epoch=2)]", [dict(type='EMAHook', begin_epoch=2)]),
        ("{'a': (1, None)}", {'a': (1, None)}),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),
        ("'C:\\new\\a.pth'", 'C:\\new\\a.pth'),
    ],
)
def test_what_mmengine_loses_of_an_option(text, value):
    """It takes the blanks out of names and paths, makes numbers of text, and recurses for dicts."""
    assert parse(f'a={text}') == {'a': value}


PLAIN = (str, int, float, bool, list, tuple, dict, type(None))
WORDS = st.recursive(
    st.sampled_from(['a', 'x1', '1', '-2', '1.5', '1e-3', 'True', 'false', 'None', 'nan', 'a.b']),
    lambda inner: st.builds(
        lambda items, ends: ends[0] + ','.join(items) + ends[1],
        st.lists(inner, min_size=1, max_size=3),
        st.sampled_from(['()', '[]']),
    ),
)


@settings(max_examples=200, deadline=None, database=None)
@given(text=WORDS)
def test_other_options_are_as_mmengine_reads_them(text):
    assert repr(value_of(text)) == repr(DictAction._parse_iterable(text))


@settings(max_examples=300, deadline=None, database=None)
@given(text=st.text('abc=,()[]{}\'" 1.-\\dict:', max_size=30))
def test_whatever_is_typed_is_a_value_or_an_error(text):
    try:
        value = value_of(text)
    except ValueError:
        return
    assert isinstance(value, PLAIN), value


@pytest.mark.parametrize('word', ['lr', '=3', 'a=[1,(2', 'a=[dict(type=EMAHook,b=1)]', 'a=f(1,2)'])
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


@pytest.mark.skipif(not Path('/proc/self').exists(), reason='needs /proc')
def test_a_folder_that_takes_no_files_is_no_folder_to_write_to():
    """Root may write there, by its permissions; an export noticed it after 22 seconds."""
    with pytest.raises(UserError, match=r'--out /proc: (/proc takes no files|no permission)'):
        check_folder('--out', '/proc')
