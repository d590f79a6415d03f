"""uv in place of pip, and only where it takes packages from the same places."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'dev'))  # as for the script itself
import bootstrap  # noqa: E402
import installer  # noqa: E402


def program(path, text):
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    installer.pip_settings.cache_clear()
    monkeypatch.delenv('SELNEXT_MM_INSTALLER', raising=False)
    yield
    installer.pip_settings.cache_clear()


def test_pips_settings_are_read_as_pip_weighs_them(tmp_path):
    lines = [
        ":env:.index-url='https://env/simple'", "global.index-url='https://global/simple'",
        "install.find-links='/a /b'", "global.find-links='/c'", "list.format='json'",
    ]  # fmt: skip
    pip = program(tmp_path / 'python', '\n'.join(f'echo "{line}"' for line in lines))
    assert installer.pip_settings(pip) == {
        'index-url': 'https://env/simple',
        'find-links': '/a /b',
    }


def test_sources_are_handed_on():
    settings = {
        'index-url': 'https://one/simple',
        'extra-index-url': 'https://two/simple\nfile:///three',
        'find-links': '/wheels',
        'trusted-host': 'one',
        'constraint': '/etc/constraints.txt',
        'cert': '/etc/ca.crt',
        'proxy': 'http://proxy:80',
        'no-index': 'true',
        'default-timeout': '180',
    }
    options, variables = installer.uv_options(settings)
    assert options == [
        '--index-strategy', 'unsafe-best-match', '--index-url', 'https://one/simple',
        '--extra-index-url', 'https://two/simple', '--extra-index-url', 'file:///three',
        '--find-links', '/wheels', '--allow-insecure-host', 'one',
        '--constraints', '/etc/constraints.txt', '--no-index',
    ]  # fmt: skip
    proxies = dict.fromkeys(('HTTP_PROXY', 'HTTPS_PROXY'), 'http://proxy:80')
    assert variables == {'SSL_CERT_FILE': '/etc/ca.crt', **proxies}


def test_a_named_index_replaces_the_settings_own():
    options, _ = installer.uv_options({'index-url': 'https://one/simple'}, 'https://torch/cpu')
    assert options[2:] == ['--index-url', 'https://torch/cpu']


@pytest.mark.parametrize('name', ['client-cert', 'only-binary', 'pre', 'keyring-provider'])
def test_a_setting_that_uv_would_not_heed_keeps_pip(name):
    assert installer.uv_options({name: 'x'}) is None


def test_pip_can_be_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv('SELNEXT_MM_INSTALLER', 'pip')
    assert installer.uv_command(Path(sys.executable), tmp_path, None) is None
    monkeypatch.setenv('SELNEXT_MM_INSTALLER', 'conda')
    with pytest.raises(SystemExit, match="'conda'; expected pip or uv"):
        bootstrap.install('numpy')


def test_a_uv_that_is_too_old_or_does_not_run_is_not_taken(monkeypatch, tmp_path):
    python = program(tmp_path / 'python', 'exit 1')  # and pip cannot bring one
    for text in ('echo uv 0.4.30', 'exit 3'):
        old = program(tmp_path / 'old_uv', text)
        monkeypatch.setattr(installer.shutil, 'which', lambda name, old=old: str(old))
        assert installer.find_uv(python, tmp_path / 'lock.txt') is None
    new = program(tmp_path / 'new_uv', 'echo "uv 0.5.0 (x86_64)"')
    monkeypatch.setattr(installer.shutil, 'which', lambda name: str(new))
    assert installer.find_uv(python, tmp_path / 'lock.txt') == str(new)


def test_pip_goes_on_where_uv_fails(monkeypatch, tmp_path, capsys):
    uv = program(tmp_path / 'uv', 'echo "error: 401 Unauthorized" >&2; exit 2')
    commands = []
    monkeypatch.setattr(bootstrap, 'uv_command', lambda *a: ([str(uv), 'pip', 'install'], {}))
    monkeypatch.setattr(bootstrap, 'run', lambda *c, **k: commands.append(c))
    bootstrap.install('torch==1', index='https://torch/cpu')
    assert 'uv could not install this ("error: 401 Unauthorized"); pip tries' in (
        capsys.readouterr().out
    )
    (command,) = commands
    assert command[1:4] == ('-m', 'pip', 'install')
    assert command[-1] == 'torch==1'
    assert command[command.index('--index-url') + 1] == 'https://torch/cpu'


def test_the_real_uv_finds_what_pips_variables_name(monkeypatch, tmp_path):
    if importlib.util.find_spec('uv') is None:
        pytest.skip('pip install uv')
    wheels = tmp_path / 'wheels'
    wheels.mkdir()
    with zipfile.ZipFile(wheels / 'tiny_part-1.0-py3-none-any.whl', 'w') as wheel:
        info = 'tiny_part-1.0.dist-info'
        wheel.writestr('tiny_part.py', 'answer = 42\n')
        wheel.writestr(f'{info}/METADATA', 'Metadata-Version: 2.1\nName: tiny-part\nVersion: 1.0\n')
        wheel.writestr(
            f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
        )
        wheel.writestr(f'{info}/RECORD', '')
    monkeypatch.setenv('PIP_FIND_LINKS', str(wheels))
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    lock = ROOT / 'requirements' / 'lock.txt'
    command, env = installer.uv_command(Path(sys.executable), lock, None)
    there = tmp_path / 'there'
    result = subprocess.run(
        [*command, '--target', str(there), 'tiny-part'], capture_output=True, text=True, env=env
    )
    assert result.returncode == 0, result.stderr
    assert (there / 'tiny_part.py').read_text() == 'answer = 42\n'
