"""What all commands' options have in common."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from selnext_mm.cli.parser import Parser


@pytest.fixture
def parser(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    parser = Parser(prog='x')
    parser.add_argument('images', nargs='*')
    parser.add_argument('--out', type=Path)
    parser.add_argument('--epochs', type=int)
    parser.add_argument('--title')
    return parser


def test_the_tilde_is_written_out_everywhere(parser):
    args = parser.parse_args(['~/a.jpg', 'b~.jpg', '--out=~/runs', '--title', 'a ~ b'])
    assert args.images == ['/home/me/a.jpg', 'b~.jpg']
    assert args.out == Path('/home/me/runs')
    assert (args.title, args.epochs) == ('a ~ b', None)


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['a.jpg', ''], "images '': an empty name; is a variable of the shell not set?"),
        (['a.jpg', '--out', ''], "--out '': an empty name"),
        (['a.jpg', '--out='], "--out '': an empty name"),
    ],
)
def test_an_empty_name_is_not_the_folder_that_one_is_in(parser, words, text, capsys):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert (caught.value.code, text in capsys.readouterr().err) == (2, True)


def test_an_empty_text_is_one(parser):
    assert parser.parse_args(['--title', '']).title == ''


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['--epohcs', '3'], 'unrecognized arguments: --epohcs; did you mean --epochs?'),
        (['--epohcs=3'], 'unrecognized arguments: --epohcs=3; did you mean --epochs?'),
        (['--epoch', '3'], 'did you mean --epochs?'),
        (['--zzz'], 'unrecognized arguments: --zzz\n'),
    ],
)
def test_the_option_that_was_meant_is_named(parser, words, text, capsys):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize('command', ['train', 'test'])
@pytest.mark.parametrize(
    ('script', 'shown'), [('/x/selnext-mm', 'selnext-mm {}'), ('{}.py', '{}.py')]
)
def test_usage_names_the_command_as_it_was_called(command, script, shown, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [script.format(command), '--help'])
    with pytest.raises(SystemExit):
        import_module(f'selnext_mm.cli.{command}').parse_args(['--help'])
    assert capsys.readouterr().out.startswith(f'usage: {shown.format(command)} [-h]')
