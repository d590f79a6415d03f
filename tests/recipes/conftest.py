"""Small data sets of each task, and a cache of their own."""

import pytest
from PIL import Image

from selnext_mm.datasets.formats import find_dataset
from tests.datasets.formats.writers import SMALL, write_voc


@pytest.fixture(scope='session')
def _cache(tmp_path_factory):
    return tmp_path_factory.mktemp('cache')


@pytest.fixture(autouse=True)
def cache(_cache, monkeypatch):
    pytest.importorskip('defusedxml', reason='pip install -r requirements/formats.txt runs this')
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(_cache))


@pytest.fixture
def boxes(tmp_path):
    return find_dataset(write_voc(SMALL, tmp_path / 'boxes'))


@pytest.fixture
def masks(shapes_root):
    return find_dataset(shapes_root)


@pytest.fixture
def folders(tmp_path):
    for i in range(12):
        path = tmp_path / 'pets' / 'train' / ('cat', 'dog')[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (32, 32), (20 * i, 10, 10)).save(path)
    return find_dataset(tmp_path / 'pets')
