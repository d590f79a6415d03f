"""The Triton kernels in Triton's interpreter against the equations in float64."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
    importlib.util.find_spec('triton') is None,
    reason='needs triton, which comes with torch for CUDA; on a CPU: pip install triton',
)
def test_kernels_equal_the_equations():
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'tests.ops.triton_cases'],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors) == 19
    # The interpreter cannot multiply bfloat16.
    assert errors.pop('backbone float16') < 2e-3
    assert {name: value for name, value in errors.items() if not value < 1e-6} == {}
