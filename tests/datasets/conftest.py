"""The real Pascal VOC set of the environment."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def bccd_root():
    """364 real images of blood cells in Pascal VOC, from SELNEXT_MM_BCCD."""
    root = os.environ.get('SELNEXT_MM_BCCD')
    if not root:
        pytest.skip('set SELNEXT_MM_BCCD to a folder of github.com/Shenggan/BCCD_Dataset/BCCD')
    assert Path(root, 'ImageSets/Main/trainval.txt').is_file(), root
    return Path(root)
