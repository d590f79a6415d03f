"""The extras ``runtime`` and ``serve`` in an empty environment are all that a file needs."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from tests.integration.conftest import ROOT, call
from tests.serve.echo import png, post, served_by_command, write_echo

pytest.importorskip('onnx')
FULL = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'onnx')


@pytest.fixture
def environment(request, wheel, tmp_path_factory):
    """An environment with the wheel and one extra alone, from the package index."""
    extra = request.param
    folder = tmp_path_factory.mktemp(extra) / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    pip = (sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python', 'install', '-q')
    lock = ROOT / 'requirements' / 'lock.txt'
    result = call(*(*pip, '-c', lock, f'{wheel}[{extra}]'), cwd=folder, env=dict(PYTHONPATH=''))
    if 'NewConnectionError' in result.stderr or 'Could not find a version' in result.stderr:
        pytest.skip('no package index can be reached')
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def installed(environment, folder):
    """Which of :data:`FULL` the environment has."""
    found = call(
        *(environment / 'bin' / 'python', '-c'),
        f'import importlib.util as u; print([n for n in {FULL} if u.find_spec(n)])',
        cwd=folder,
        env=dict(PYTHONPATH=''),
    )
    return found.stdout.strip()


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('environment', ['runtime'], indirect=True)
def test_the_extra_is_enough_and_tells_what_it_is_not_for(environment, tmp_path):
    def run(*line):
        command = environment / 'bin' / 'selnext-mm'
        return call(command, *line, cwd=tmp_path, env=dict(PYTHONPATH=''))

    assert installed(environment, tmp_path) == '[]'
    write_echo(tmp_path / 'echo.onnx')
    Image.new('RGB', (64, 48), (230, 230, 230)).save(tmp_path / 'p.png')
    result = run('predict', 'echo.onnx', 'p.png', '--out', 'out')
    assert result.returncode == 0, result.stderr
    (box,) = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert box['bbox'] == [0, 0, 64, 48]
    assert Image.open(tmp_path / 'out' / 'pictures' / 'p.jpg').size == (480, 360)
    for line in ('export a.py b.pth --to onnx --out c.onnx', 'report work', 'check-data .'):
        result = run(*line.split())
        assert result.returncode == 2, line
        assert "pip install 'selnext_mm[mm]'" in result.stderr, (line, result.stderr)
        assert 'Traceback' not in result.stderr
    result = run('doctor')
    assert 'predict and serve with an exported file need none of this' in result.stdout


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('environment', ['serve'], indirect=True)
def test_a_file_is_served_without_torch(environment, tmp_path):
    """What docker/Dockerfile installs, too: the wheel with the extra ``serve``."""
    assert installed(environment, tmp_path) == '[]'
    write_echo(tmp_path / 'echo.onnx')
    command = environment / 'bin' / 'selnext-mm'
    with served_by_command('echo.onnx', tmp_path, command) as (_, port, printed):
        assert printed.startswith('detector echo.onnx by onnxruntime, 2 classes\n')
        status, content = post(port, png(64, 48))
    assert (status, content['annotations'][0]['bbox']) == (200, [0, 0, 64, 48])


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('environment', ['export'], indirect=True)
def test_the_extra_that_writes_files(environment, tmp_path):
    """It comes beside torch, which it does not bring."""
    assert installed(environment, tmp_path) == "['onnx']"
    code = 'import onnx, onnxruntime, onnxscript'
    result = call(
        *(environment / 'bin' / 'python', '-c', code), cwd=tmp_path, env=dict(PYTHONPATH='')
    )
    assert result.returncode == 0, result.stderr
