"""``pip install 'selnext_mm[runtime]'`` into an empty environment is all that a file needs."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from tests.integration.conftest import ROOT, call

pytest.importorskip('onnx')
FULL = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'onnx')


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
    """An environment with the wheel and its extra alone, from the package index."""
    folder = tmp_path_factory.mktemp('runtime') / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    pip = (sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python', 'install', '-q')
    lock = ROOT / 'requirements' / 'lock.txt'
    result = call(*(*pip, '-c', lock, f'{wheel}[runtime]'), cwd=folder, env=dict(PYTHONPATH=''))
    if 'NewConnectionError' in result.stderr or 'Could not find a version' in result.stderr:
        pytest.skip('no package index can be reached')
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


@pytest.mark.slow
@pytest.mark.integration
def test_the_extra_is_enough_and_tells_what_it_is_not_for(environment, tmp_path):
    from tests.serve.echo import write_echo

    def run(*line):
        command = environment / 'bin' / 'selnext-mm'
        return call(command, *line, cwd=tmp_path, env=dict(PYTHONPATH=''))

    found = call(
        *(environment / 'bin' / 'python', '-c'),
        f'import importlib.util as u; print([n for n in {FULL} if u.find_spec(n)])',
        cwd=tmp_path,
        env=dict(PYTHONPATH=''),
    )
    assert found.stdout.strip() == '[]'
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
