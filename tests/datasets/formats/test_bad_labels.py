"""Every case of the table ends with one message, soon, and leaves nothing behind."""

import resource
import time

import pytest

from selnext_mm.datasets.formats import find_dataset
from selnext_mm.errors import UserError
from tests.datasets.formats.bad_labels import TABLE
from tests.datasets.formats.writers import SMALL, WRITERS


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*'))


def test_the_table_is_as_long_as_promised():
    assert len(TABLE) >= 90


@pytest.mark.parametrize('name', TABLE)
def test_bad_labels_end_with_one_message(name, tmp_path, monkeypatch, cache):
    case = TABLE[name]
    folder = tmp_path / 'set'
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    path = case.prepare(folder) or folder
    options = dict(case.options)
    if options.get('val') == 'OTHER':
        options['val'] = folder / 'other'
    before, start = files(tmp_path), time.monotonic()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        find_dataset(path, **options)
    for words in case.words:
        assert words in str(caught.value)
    lines = str(caught.value).splitlines()
    assert len(lines) == (1 if case.mistakes == 1 else 1 + case.mistakes)
    assert time.monotonic() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1 << 20  # 1 GiB, in KiB
    left = [f for f in files(tmp_path) if f not in before and f not in ('cache', 'cache/datasets')]
    assert left == [], 'something was left behind'


@pytest.mark.parametrize('kind', WRITERS)
def test_the_sound_sets_that_are_spoilt_are_sound(kind, tmp_path):
    info = find_dataset(WRITERS[kind](SMALL, tmp_path / 'set'))
    assert {name: s.images for name, s in info.splits.items()} == {
        name: len(content['images']) for name, content in SMALL.items()
    }
