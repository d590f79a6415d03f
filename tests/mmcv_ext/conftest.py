"""Our operators in the place of those that ``mmcv.ops`` has loaded, and an mmcv without any."""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.mmcv_ext import calls

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def ours():
    return calls.ours()


@pytest.fixture
def ops(ours, monkeypatch):
    """``mmcv.ops``, calling our operators."""
    import mmcv.ops

    replaced = 0
    for name, module in list(sys.modules.items()):
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', ours)
            replaced += 1
    assert replaced > 40
    return mmcv.ops


@pytest.fixture(scope='session')
def lite(tmp_path_factory):
    """Environment variables of a Python whose mmcv has no compiled operators.

    A folder of links to the files of the installed mmcv, but for ``_ext``, comes first.
    """
    source = Path(importlib.util.find_spec('mmcv').origin).parent
    folder = tmp_path_factory.mktemp('lite')
    (folder / 'mmcv').mkdir()
    for entry in source.iterdir():
        if not entry.name.startswith('_ext') and entry.name != '__pycache__':
            (folder / 'mmcv' / entry.name).symlink_to(entry)
    return dict(PYTHONPATH=f'{folder}{os.pathsep}{ROOT}')


@pytest.fixture
def python(lite, tmp_path):
    """Run a program there; gives what it prints last, or the end of its error messages."""

    def run(code: str) -> str:
        result = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
            cwd=tmp_path,
            env={**os.environ, **lite},
            capture_output=True,
            text=True,
        )
        lines = (result.stderr if result.returncode else result.stdout).strip().splitlines()
        return lines[-1] if lines else ''

    return run
