"""``make test``, ``slow``, ``realdata`` and ``docs`` run every test, and CI runs all four."""

import itertools
import re
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

ROOT = Path(__file__).resolve().parents[2]
TIERS = ('test', 'slow', 'realdata', 'docs')
MARKS = ('slow', 'realdata', 'documentation', 'integration')


def expression(tier: str) -> Expression:
    recipe = (ROOT / 'Makefile').read_text().partition(f'\n{tier}: ')[2].partition('\n\n')[0]
    (text,) = re.findall(r"(?:-m|call run,) ?('[^']+'|\w+)(?: \$|\) )", recipe)
    return Expression.compile(text.strip("'"))


@pytest.mark.parametrize(
    'marks', itertools.chain.from_iterable(itertools.combinations(MARKS, n) for n in range(3))
)
def test_whatever_its_marks_a_test_belongs_to_a_tier(marks):
    takes = [t for t in TIERS if expression(t).evaluate(lambda name, **more: name in marks)]
    assert takes
    assert takes == ['slow'] or 'slow' not in takes


def test_ci_runs_all_of_them():
    script = (ROOT / '.ci' / 'run').read_text()
    assert [t for t in TIERS if not re.search(rf'^make {t}$', script, re.M)] == []
