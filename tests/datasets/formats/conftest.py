"""A cache of its own for every test."""

import pytest


@pytest.fixture(autouse=True)
def _formats_installed():
    pytest.importorskip('defusedxml', reason='pip install -r requirements/formats.txt runs this')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'datasets'
