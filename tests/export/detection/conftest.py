"""A small detector and the file of it, which takes half a minute to write."""

import os

import pytest
from filelock import FileLock

from selnext_mm.cli import export as command
from tests.export.small_detectors import save_detector


def call(saved, out, *more):
    arguments = [str(saved.config), str(saved.checkpoint), '--to', 'onnx', '--out', str(out)]
    return command.main([*arguments, *more])


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """A small Mask R-CNN, and the file that the command wrote of it, once for all processes."""
    root = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        root = root.parent
    saved = save_detector(tmp_path_factory.mktemp('mask_rcnn'), 'mask_rcnn')
    saved.file = root / 'mask_rcnn.onnx'
    with FileLock(root / 'mask_rcnn.lock'):
        if not saved.file.exists():
            assert call(saved, saved.file) == 0
    return saved
