"""Scores against the share of right predictions, by hand and by a loop."""

import numpy as np
import pytest

from selnext_mm.evaluation.calibration import calibration


def slow_error(score, right, bins):
    total = 0.0
    for b in range(bins):
        inside = [
            (s, r)
            for s, r in zip(score, right, strict=True)
            if b / bins < s <= (b + 1) / bins or (b == 0 and s == 0)
        ]
        if inside:
            gap = sum(r for _, r in inside) / len(inside) - sum(s for s, _ in inside) / len(inside)
            total += len(inside) / len(score) * abs(gap)
    return total


def test_half_of_what_is_sure_is_right():
    c = calibration([0.95, 0.95, 0.15, 0.15], [True, False, False, False])
    assert c.counts.tolist() == [0, 2, *[0] * 7, 2]
    assert c.shares[[1, 9]].tolist() == [0, 0.5]
    assert c.error == pytest.approx((0.45 + 0.15) / 2)
    assert c.largest == pytest.approx(0.45)
    assert np.isnan(c.scores[0])


def test_a_score_on_an_edge_belongs_to_the_lower_bin():
    c = calibration([0, 0.1, 0.3, 0.7, 1], [0] * 5)
    assert c.counts.tolist() == [2, 0, 1, 0, 0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize('bins', [1, 7, 10])
def test_random_scores_are_as_a_loop_says(bins):
    rng = np.random.default_rng(1)
    score, right = rng.random(300), rng.random(300) < 0.4
    assert calibration(score, right, bins).error == pytest.approx(slow_error(score, right, bins))


def test_without_predictions_there_is_no_error():
    c = calibration([], [])
    assert (c.error, c.largest) == (None, None)
    assert c.counts.sum() == 0
