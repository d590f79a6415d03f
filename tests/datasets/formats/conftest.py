"""A cache of its own for every test, and the real Pascal VOC set."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _formats_installed():
    pytest.importorskip('defusedxml', reason='pip install -r requirements/formats.txt runs this')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'datasets'


@pytest.fixture(scope='session')
def bccd_root():
    """364 real images of blood cells in Pascal VOC, from SELNEXT_MM_BCCD."""
    root = os.environ.get('SELNEXT_MM_BCCD')
    if not root:
        pytest.skip('set SELNEXT_MM_BCCD to a folder of github.com/Shenggan/BCCD_Dataset/BCCD')
    assert Path(root, 'ImageSets/Main/trainval.txt').is_file(), root
    return Path(root)
