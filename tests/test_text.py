"""Words for messages."""

import re
from pathlib import Path

import pytest

from selnext_mm.text import counted, per_second

PACKAGE = Path(__file__).resolve().parents[1] / 'selnext_mm'
# A number that starts a phrase in an f-string, and a noun in the plural after it.
NOUNS = 'images|errors|warnings|classes|epochs|processes|objects|hooks|tensors|threads|entries'
PLURAL = re.compile(rf"(?:f'|, )\{{(?!counted|what)[^{{}}'\":]+\}} (?:{NOUNS})\b")


@pytest.mark.parametrize(
    ('number', 'words', 'text'),
    [
        (0, ['image'], '0 images'),
        (1, ['image'], '1 image'),
        (2, ['image'], '2 images'),
        (1, ['class'], '1 class'),
        (3, ['process'], '3 processes'),
        (2, ['entry'], '2 entries'),
        (2, ['category'], '2 categories'),
        (1, ['file is', 'files are'], '1 file is'),
        (2, ['file is', 'files are'], '2 files are'),
        ('?', ['epoch'], '? epochs'),
    ],
)
def test_a_number_and_its_noun(number, words, text):
    assert counted(number, *words) == text


def test_messages_count_by_the_helper():
    """So that none says "1 images"; numbers that cannot be 1 are listed."""
    fixed = {
        'analysis/comparison/plan.py',  # of whole data sets
        'datasets/class_folders.py',  # what was counted against what is expected
        'datasets/shapes.py',
        'datasets/semantic_maps.py',  # 255 and more
        'engine/preflight/fit.py',  # more than a batch
        'recipes/resolve.py',  # 12 epochs and more; two processes and more
    }
    found = {
        str(path.relative_to(PACKAGE)): PLURAL.findall(path.read_text(encoding='utf-8'))
        for path in PACKAGE.rglob('*.py')
        if '.mim' not in path.parts
    }
    assert {path: lines for path, lines in found.items() if lines and path not in fixed} == {}


def test_a_slow_rate_is_the_time_of_one():
    """A large image in slices was "0.0 images/s"."""
    assert per_second(5, 2, 'image') == '2.5 images/s'
    assert per_second(1, 10, 'frame') == '0.1 frames/s'
    assert per_second(0, 10, 'frame') == '0.0 frames/s'
    assert per_second(2, 50, 'image') == '25 s per image'
