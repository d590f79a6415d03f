"""The operators of mmcv, as the probes of the packages see them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_packages_are_tried_with_the_operators_that_the_package_gives(tmp_path):
    """In an environment of pip alone mmcv has no file of operators."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    code = (
        'from selnext_mm.doctor import probes\n'
        'import sys; sys.meta_path[:] = [f for f in sys.meta_path if "Operator" not in repr(f)]\n'
        'probes.load_operators()\n'
        'import mmcv._ext as ext; print(callable(ext.nms), ext.__name__)'
    )
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'},
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == ['True', 'mmcv._ext'], result.stderr
