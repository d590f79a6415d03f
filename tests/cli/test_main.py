import argparse
import contextlib
import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selnext_mm import __version__
from selnext_mm.__main__ import call, main
from selnext_mm.cli import COMMANDS
from selnext_mm.cli.parser import Parser
from selnext_mm.errors import UserError


def test_usage_lists_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f'  {name} ' in out for name in COMMANDS)


@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_every_command_has_a_main_and_a_help(name, capsys):
    module = importlib.import_module(COMMANDS[name][0])
    with pytest.raises(SystemExit) as stop:
        module.main(['--help'])
    assert stop.value.code == 0
    assert 'usage: ' in capsys.readouterr().out


@pytest.mark.parametrize('name', [*sorted(COMMANDS), 'train --data d', 'predict m.onnx'])
def test_every_option_says_what_it_does(name, monkeypatch):
    parsers = []

    def stop(self, *args):
        parsers.append(self)
        raise SystemExit

    monkeypatch.setattr(Parser, 'parse_args', stop)
    command, *words = name.split()
    with pytest.raises(SystemExit):
        importlib.import_module(COMMANDS[command][0]).main(words)
    actions = parsers[0]._actions
    assert [action.dest for action in actions if not action.help] == []
    if words == ['--data', 'd']:  # what is chosen for the user is said
        chosen = [a for a in actions if a.type in (int, float) and a.help != argparse.SUPPRESS]
        silent = {a.dest for a in chosen if 'default: ' not in a.help}
        assert silent == {'gpus', 'show_predictions'}
        assert '640 (on a CPU 512)' in ' '.join(parsers[0].format_help().split())


def test_an_unknown_command_names_the_choices(capsys):
    assert main(['trian']) == 2
    assert 'train' in capsys.readouterr().err


def test_the_list_of_commands_does_not_wait_for_torch():
    """It has to come within half a second."""
    script = sys.executable.rpartition('/')[0] + '/selnext-mm'
    for command in ([script], ['-m', 'selnext_mm']):
        result = subprocess.run(
            [sys.executable, '-X', 'importtime', *command, '--help'], capture_output=True, text=True
        )
        assert '  check-data  ' in result.stdout
        imported = {line.rpartition('|')[2].strip() for line in result.stderr.splitlines()}
        assert 'selnext_mm.cli' in imported
        assert not imported & {'torch', 'numpy', 'mmengine', 'mmcv'}


def test_script_and_module_are_the_same():
    script = sys.executable.rpartition('/')[0] + '/selnext-mm'
    for command in ([script], [sys.executable, '-m', 'selnext_mm']):
        result = subprocess.run([*command, '--version'], capture_output=True, text=True)
        assert result.stdout.strip() == __version__


def test_a_users_mistake_is_one_line(capsys):
    def wrong(argv):
        raise UserError('say what to do')

    assert call(wrong, []) == 2
    assert capsys.readouterr().err == 'error: say what to do\n'
    assert call(wrong, ['--debug']) == 2
    assert 'Traceback' in capsys.readouterr().err


@pytest.mark.parametrize(
    'error',
    [
        ModuleNotFoundError("No module named 'mmdet'"),
        ImportError('libGL.so.1: cannot open shared object file'),
        AssertionError('MMCV==2.2.0 is used but incompatible.\nPlease install mmcv<2.2.0.'),
    ],
)
def test_a_package_that_is_missing_or_does_not_fit_is_one_line(error, capsys):
    def wrong(argv):
        raise error

    assert call(wrong, []) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(error).split()[0] in line
    assert 'selnext-mm doctor' in line


def test_other_assertions_keep_their_traceback():
    def wrong(argv):
        raise AssertionError('a bug')

    with pytest.raises(AssertionError):
        call(wrong, [])


@pytest.mark.parametrize('name', ['RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'])
def test_only_one_process_of_a_job_tells_it(capsys, monkeypatch, name):
    def wrong(argv):
        raise UserError('x')

    for rank, told in (('1', ''), ('0', 'error: x\n')):
        monkeypatch.setenv(name, rank)
        assert call(wrong, []) == 2
        assert capsys.readouterr().err == told


def test_a_reader_that_stops_reading_is_no_error():
    command = f'{sys.executable} -m selnext_mm --help | head -1'
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert 'Traceback' not in result.stderr


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full (Linux)')
@pytest.mark.parametrize('writer', [open, Path.open])
def test_a_full_disk_is_one_message_whoever_writes(capsys, writer):
    def scalars(argv):
        with writer(Path('/dev/full'), 'a') as file:
            file.write('loss')

    assert call(scalars, []) == 2
    message = capsys.readouterr().err
    assert message.startswith('error: /dev/full could not be written: the disk is full')
    assert 'MB free in /dev' in message
    assert '--resume' in message


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full (Linux)')
def test_an_output_that_takes_no_more_is_one_message(capsys, monkeypatch):
    def lines(argv):
        print('a line', flush=True)

    with open('/dev/full', 'w', encoding='utf-8') as full, monkeypatch.context() as patch:
        patch.setattr('sys.stdout', full)
        assert call(lines, []) == 2
        with contextlib.suppress(OSError):
            full.close()
    message = capsys.readouterr().err
    assert message.startswith('error: the output or a file could not be written: the disk is full')


def test_other_errors_of_the_system_keep_their_traceback():
    with pytest.raises(FileNotFoundError):
        call(lambda argv: Path('/nowhere/at/all').read_text(), [])


@pytest.mark.parametrize('length', [300, 5000])
@pytest.mark.parametrize('line', ['WORD --out o', 'p.png --out WORD'])
def test_a_name_that_no_file_can_have_is_one_message(line, length, capsys):
    words = line.replace('WORD', 'x' * length).split()
    assert main(['predict', 'm.onnx', *words]) == 2
    message = capsys.readouterr().err
    assert 'xxx: File name too long; give another name' in message
    assert len(message) < 300


def test_a_folder_that_may_not_be_looked_into_is_one_message(capsys):
    def look(argv):
        raise PermissionError(errno.EACCES, 'Permission denied', '/root/out')

    assert call(look, []) == 2
    told = capsys.readouterr().err
    assert 'error: /root/out: Permission denied; give another name' in told
    assert 'or change its permissions' in told


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, capsys):
    folder = tmp_path / 'gone'
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main(['--version']) == 0
    assert main(['make-shapes', str(tmp_path / 'shapes')]) == 2
    assert 'the working directory is gone' in capsys.readouterr().err
    assert not (tmp_path / 'shapes').exists()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == 'win32', reason='a shell that closes streams')
@pytest.mark.parametrize('closed', ['>&-', '>&- 2>&- <&-'])
def test_closed_streams(closed, tmp_path):
    assert main(['make-shapes', f'{tmp_path}/shapes', '--train', '1', '--val', '1']) == 0
    line = f'"{sys.executable}" -m selnext_mm check-data shapes --no-duplicates {closed}'
    result = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
