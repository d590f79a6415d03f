"""The demo, shortened: every step is the real command."""

import sys
from pathlib import Path

import cv2
import pytest

from tests.integration.conftest import call

pytestmark = pytest.mark.integration


def test_demo_ends_with_numbers_and_a_picture(tmp_path):
    command = (sys.executable, '-m', 'selnext_mm', 'demo', '--images', '12', '6', '--epochs', '1')
    first = call(*command, cwd=tmp_path)
    assert first.returncode in (0, 2), first.stderr[-3000:]
    if first.returncode == 2:
        # After six iterations a seed may find nothing: the picture says so, in one line.
        assert 'predicted nothing' in first.stderr
        return
    assert 'demo finished' in first.stdout
    assert 'mask mAP' in first.stdout
    assert 'weights       work_dirs/demo/epoch_1.pth\n' in first.stdout
    panel = cv2.imread(str(tmp_path / 'work_dirs' / 'demo' / 'panel.png'))
    assert panel is not None
    assert panel.std() > 10
    for name in ('results.json', 'results.segm.json', 'epoch_1.pth'):
        assert Path(tmp_path, 'work_dirs', 'demo', name).is_file()
    second = call(*command, cwd=tmp_path)
    assert second.returncode == 0, second.stderr[-2000:]
    assert 'holds a finished run' in second.stdout
    assert 'Epoch(train)' not in second.stdout + second.stderr
