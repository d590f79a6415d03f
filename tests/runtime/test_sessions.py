"""Model files that are opened and closed beside signals."""

import os
import subprocess
import sys

import pytest

# Closed in the order in which they were opened: what each of them restores must not be the other's.
PROGRAM = """
import faulthandler, gc, os, signal, sys
import numpy as np
import openvino
from openvino import opset13

from selnext_mm.runtime.sessions import open_session

faulthandler.enable()
x = opset13.parameter([1, 2], np.float32, name='x')
openvino.save_model(openvino.Model([opset13.relu(x)], [x]), 'model.xml')
sessions = [open_session('model.xml') for _ in range(3)]
while sessions:
    del sessions[0]
    gc.collect()
came = []
signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
print('signals', len(came))
"""


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != 'linux', reason='OpenVINO gives a stack for signals on Linux')
def test_a_signal_after_openvino_models_were_closed(root, tmp_path):
    pytest.importorskip('openvino', reason="pip install 'selnext_mm[openvino]' for OpenVINO")
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (0, 'signals 1\n'), result.stderr[-2000:]
