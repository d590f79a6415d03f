"""``selnext-mm doctor``: its table, and whole runs in environments that are really broken."""

import io
import json
import os
import sys

import pytest

from selnext_mm.cli import doctor
from selnext_mm.doctor.checks import Row
from selnext_mm.doctor.remedies import python_command
from selnext_mm.errors import UserError

PIP = f'{python_command()} -m pip install'
MMCV_LINE = (
    f'{python_command()} -m pip uninstall -y mmcv mmcv-lite && {PIP} --no-deps "mmcv-lite==2.1.0"'
)
ROWS = [
    Row('python', '3.11.7', '3.10 to 3.12', True),
    Row('mmcv._ext', 'a reason ' * 12, 'ops that are compiled, all of them', False, MMCV_LINE),
    Row('CUDA', 'none: the CPU is used', 'optional', None),
]


@pytest.fixture
def rows(monkeypatch):
    """Let the command show these rows instead of looking at the machine."""
    shown = list(ROWS)
    monkeypatch.setattr(doctor, 'inspect_environment', lambda *args: shown)
    monkeypatch.setenv('COLUMNS', '80')
    return shown


def test_cells_wrap_and_the_remedy_stands_whole_below_its_row(rows, capsys):
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    where = lines.index(f'  fix: {MMCV_LINE}')
    assert all(len(line) <= 80 for line in lines if 'fix:' not in line)
    row = next(i for i, line in enumerate(lines) if line.startswith('mmcv._ext  FAIL'))
    assert ' '.join(lines[row:where]).count('reason') == 12
    assert lines[where + 1].startswith('CUDA')
    assert lines[-1] == '1 of 3 checks failed: mmcv._ext'


def test_notes_and_warnings_do_not_fail(rows, capsys):
    rows[1] = Row('setuptools', '82.0.0', '<81', None, 'pip install "setuptools<81"')
    assert doctor.main([]) == 0
    assert capsys.readouterr().out.endswith('all 3 checks hold; to be looked at: setuptools\n')


def test_quiet_leaves_out_what_holds(rows, capsys):
    assert doctor.main(['--quiet']) == 1
    out = capsys.readouterr().out
    assert 'mmcv._ext' in out
    assert 'CUDA' not in out
    rows[1:] = []
    assert doctor.main(['--quiet']) == 0
    assert capsys.readouterr().out == 'all 1 checks hold\n'


def test_json_to_standard_output_is_nothing_but_json(rows, capsys):
    assert doctor.main(['--json', '-']) == 1
    report = json.loads(capsys.readouterr().out)
    assert report['ok'] is False
    states = [(check['name'], check['state']) for check in report['checks']]
    assert states == [('python', 'ok'), ('mmcv._ext', 'FAIL'), ('CUDA', 'note')]
    assert report['checks'][1]['remedy'] == MMCV_LINE


def test_json_file_that_cannot_be_written_is_an_error_of_the_user(rows, tmp_path):
    with pytest.raises(UserError, match='name a writable file'):
        doctor.main(['--json', str(tmp_path / 'no' / 'file.json')])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize('rich', [True, False])
def test_colour_on_a_terminal_takes_rich_but_does_not_need_it(rows, monkeypatch, rich):
    if rich:
        pytest.importorskip('rich')
    else:
        monkeypatch.setitem(sys.modules, 'rich.console', None)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.delenv('NO_COLOR', raising=False)
    monkeypatch.setattr(sys, 'stdout', Terminal())
    doctor.main([])
    out = sys.stdout.getvalue()
    assert ('\x1b[' in out) is rich
    assert f'fix: {MMCV_LINE}' in out


def test_a_terminal_sees_what_was_checked(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    with doctor.progress() as told:
        told('torch')
        told('mmcv')
    lines = sys.stderr.getvalue().split('\r\x1b[K')
    assert lines[1:] == [
        'checking the environment ...',
        '1 of 12 probes ended: torch',
        '2 of 12 probes ended: mmcv',
        '',
    ]
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    with doctor.progress() as told:
        told('torch')
    assert sys.stderr.getvalue() == ''


# --- whole runs ----------------------------------------------------------------------------


@pytest.fixture
def run_doctor(run_tool, root, tmp_path):
    """Run the command with ``fakes`` (path -> source) ahead of what is installed."""

    def run(*options, fakes=None):
        folder = tmp_path / 'fakes'
        for name, text in (fakes or {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        env = {'PYTHONPATH': f'{folder}{os.pathsep}{root}', 'COLUMNS': '80'}
        return run_tool('-m', 'selnext_mm', 'doctor', *options, env=env)

    return run


def remedies(done) -> dict[str, str]:
    """Failed row -> the line below it, from the JSON of a run."""
    assert done.stdout.startswith('{'), done.stderr
    checks = json.loads(done.stdout)['checks']
    return {check['name']: check['remedy'] for check in checks if check['ok'] is False}


@pytest.mark.integration
def test_plain_environment_holds(run_doctor):
    done = run_doctor('--min-free-gb', '0')
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines if 'fix:' not in line)
    assert '\x1b' not in done.stdout
    names = {line.split()[0] for line in lines if line[:1] not in ('', ' ', '-')}
    assert names >= {'python', 'setuptools', 'torch', 'torchvision', 'mmcv._ext', 'selnext_mm'}
    assert lines[-1].startswith('all ')


@pytest.mark.integration
def test_little_disk_ends_with_status_1(run_doctor):
    # Without torch the probes of the packages are short.
    fakes = {'torch/__init__.py': "raise ImportError('torch is broken')"}
    done = run_doctor('--min-free-gb', '1e9', '--quiet', fakes=fakes)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count('fix: free ') == 2
    assert done.stdout.splitlines()[-1].endswith(', disk, this folder, disk, cache')


@pytest.mark.slow
@pytest.mark.integration
def test_broken_packages_are_rows_with_the_line_that_mends_them(run_doctor):
    fakes = {
        'mmcv/__init__.py': "raise ImportError('mmcv is broken')",
        'setuptools/__init__.py': "__version__ = '82.0.0'",
        'pkg_resources.py': 'raise ModuleNotFoundError("No module named \'pkg_resources\'")',
        'torchvision/__init__.py': "__version__ = '0.2.2'\nfrom . import extension",
        'torchvision/extension.py': 'def _has_ops(): return True',
    }
    done = run_doctor(fakes=fakes)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()

    def fix(name: str, state: str = 'FAIL') -> str:
        row = next(i for i, line in enumerate(lines) if line.split()[:2] == [name, state])
        return next(line for line in lines[row:] if line.startswith('  fix: '))[len('  fix: ') :]

    assert fix('setuptools', 'warn') == f'{PIP} "setuptools<81"'
    assert fix('torchvision').startswith(f'{PIP} --no-deps --force-reinstall "torchvision==0.')
    assert fix('mmcv') == fix('mmdet') == MMCV_LINE
    assert lines[-1].split(': ')[0].endswith('checks failed')


@pytest.mark.integration
def test_it_starts_where_nothing_else_can_be_imported(run_doctor):
    names = ['torch', 'mmengine', 'cv2', 'mmcv', 'mmdet']
    fakes = {f'{name}/__init__.py': f"raise ImportError('no {name} here')" for name in names}
    done = run_doctor('--json', '-', fakes=fakes)
    assert done.returncode == 1, done.stderr
    assert remedies(done).keys() >= {*names[:2], 'opencv', 'mmcv', 'mmdet', 'selnext_mm'}
