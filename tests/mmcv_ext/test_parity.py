"""Every operator gives what the compiled one gives, or gave when its answers were stored."""

import functools

import numpy as np
import pytest

from tests.mmcv_ext import calls
from tests.mmcv_ext.cases import FAMILIES, STORED, answers

CASES = [(family, case[0]) for family, cases in FAMILIES.items() for case in cases()]
# Outputs that have to be the same; of the others the largest error, by the largest value.
SAME = {'kept', 'members', 'sizes', 'ious'}
OUTPUT, GRADIENT = 1e-5, 1e-4


@functools.cache
def stored(family):
    return dict(np.load(STORED / f'{family}.npz'))


@functools.cache
def ours(family):
    return answers(calls.ours(), family)


@functools.cache
def compiled(family):
    return answers(calls.compiled(), family)


def compare(family, case, found, wanted):
    names = [name for name in wanted if name.startswith(f'{case}/')]
    assert names
    for name in names:
        a, b = found[name], wanted[name]
        assert a.shape == b.shape
        output = name.split('/')[1]
        if output in SAME:
            np.testing.assert_array_equal(a, b)
        elif a.size:
            limit = GRADIENT if output.startswith('grad') else OUTPUT
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            assert np.nanmax(np.abs(a - b)) <= limit * np.nanmax(np.abs(b)), name


@pytest.mark.parametrize(('family', 'case'), CASES)
def test_ours_equals_the_stored_answers(family, case):
    compare(family, case, ours(family), stored(family))


@pytest.mark.skipif(
    calls.compiled() is None,
    reason='needs an mmcv with compiled operators: MMCV_OPS=cpu make setup',
)
@pytest.mark.parametrize('family', FAMILIES)
def test_the_stored_answers_are_those_of_the_compiled_operators(family):
    assert stored(family).keys() == compiled(family).keys()
    for _, case in (pair for pair in CASES if pair[0] == family):
        compare(family, case, stored(family), compiled(family))
        compare(family, case, ours(family), compiled(family))
