"""Inputs of equal shape run together, and each gets its own result."""

import pytest

from selnext_mm.inference.batching import run_by_shape


def test_results_come_in_the_order_of_the_inputs():
    seen = []

    def run(places):
        seen.append(places)
        return [f'result {place}' for place in places]

    shapes = [(3, 8), (3, 4), (3, 8), (3, 2), (3, 4)]
    assert run_by_shape(shapes, run) == [f'result {i}' for i in range(5)]
    assert seen == [[0, 2], [1, 4], [3]]
    assert run_by_shape([], run) == []


def test_a_result_too_few_is_an_error():
    with pytest.raises(ValueError, match='shorter'):
        run_by_shape([(1,), (1,)], lambda places: ['one'])
