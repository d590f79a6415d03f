"""Environments that only a process of its own can have: packages missing, files limited."""

import shlex
import sys

import pytest
import torch

from tests.messages.bad_input import CFG
from tests.oracles.official_selnext_keys import TOY, official_weights

pytestmark = pytest.mark.integration


def told(result):
    """The one message of a finished process that failed as it should."""
    assert result.returncode == 2, result.stdout[-1000:] + result.stderr[-2000:]
    assert 'Traceback' not in result.stdout + result.stderr
    (line,) = [line for line in result.stderr.splitlines() if 'error: ' in line]
    return line


@pytest.mark.parametrize(
    ('package', 'source'),
    [
        ('mmdet', 'raise ImportError("no mmdet here")\n'),
        ('mmcv', '__version__ = "9.0.0"\n'),
    ],
)
def test_a_package_that_is_missing_or_too_new(package, source, run_tool, shapes_root, tmp_path):
    (tmp_path / 'shadow').mkdir()
    (tmp_path / 'shadow' / f'{package}.py').write_text(source)
    path = [str(tmp_path / 'shadow'), *filter(None, sys.path)]
    result = run_tool(
        *('-m', 'selnext_mm', 'train', CFG, '--data-root', shapes_root),
        env={'PYTHONPATH': ':'.join(path)},
    )
    line = told(result)
    assert package in line.lower()
    assert 'selnext-mm doctor' in line
    assert [p.name for p in tmp_path.iterdir()] == ['shadow']


def limited(command, blocks):
    """``command`` in a shell where no file may grow beyond ``blocks`` kilobytes."""
    return ('bash', '-c', f'ulimit -f {blocks}; exec {shlex.join(map(str, command))}')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_weights_that_do_not_fit_on_the_disk(suffix, run_tool, tmp_path):
    torch.save({'model': official_weights(*TOY)}, tmp_path / 'in.pth')
    command = (sys.executable, '-m', 'selnext_mm', 'convert', 'in.pth', f'out{suffix}')
    line = told(run_tool(*limited((*command, '--from', 'selnext'), 20)))
    assert f'out{suffix} could not be written: the file-size limit (ulimit -f) is reached' in line
    assert [p.name for p in tmp_path.iterdir()] == ['in.pth']


def test_a_data_set_that_does_not_fit_on_the_disk(run_tool, tmp_path):
    command = (sys.executable, '-m', 'selnext_mm', 'make-shapes', 'new', '--train', '20')
    line = told(run_tool(*limited(command, 5)))
    assert 'new: File too large' in line
    assert list(tmp_path.iterdir()) == []
