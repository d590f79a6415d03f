"""Turns, order and statistics of the timing, on a clock of our own."""

import numpy as np
import pytest
from _timing import compare, interleave, quartile, summarize


class Bench:
    """Functions that note their calls and move the clock by a cost of their own."""

    def __init__(self, **costs):
        self.time = 0.0
        self.calls = []
        self.functions = {name: self._function(name, cost) for name, cost in costs.items()}

    def _function(self, name, cost):
        def call():
            self.calls.append(name)
            self.time += cost

        return call

    def run(self, **options):
        return interleave(self.functions, clock=lambda: self.time, **options)


def test_one_call_is_timed_and_warm_up_is_not():
    bench = Bench(a=1.0, b=2.5)
    seconds = bench.run(repeats=4, warmup=3, settle=2)
    assert seconds == {'a': [1.0] * 4, 'b': [2.5] * 4}
    assert len(bench.calls) == (4 + 3) * 2 * 3


def test_every_round_has_every_model_in_a_new_order():
    bench = Bench(a=1, b=1, c=1, d=1)
    bench.run(repeats=40, warmup=0, settle=0, seed=1)
    rounds = [tuple(bench.calls[i : i + 4]) for i in range(0, 160, 4)]
    assert all(sorted(names) == ['a', 'b', 'c', 'd'] for names in rounds)
    assert len(set(rounds)) > 12  # of 24
    first = [names[0] for names in rounds]
    assert set(first) == {'a', 'b', 'c', 'd'}


def test_the_seed_decides_the_order():
    orders = []
    for seed in (5, 5, 6):
        bench = Bench(a=1, b=1, c=1)
        bench.run(repeats=10, seed=seed)
        orders.append(bench.calls)
    assert orders[0] == orders[1] != orders[2]


def test_a_device_is_waited_for_before_and_after():
    bench = Bench(a=1.0)
    events = bench.calls
    bench.run(repeats=2, warmup=0, settle=1, synchronize=lambda: events.append('wait'))
    assert events == ['a', 'wait', 'a', 'wait'] * 2


def test_work_that_a_device_still_has_is_not_counted_as_the_next_models():
    """A queue that is worked off when waited for: the untimed call must not spill over."""
    state = {'time': 0.0, 'queued': 0.0}

    def wait():
        state['time'] += state['queued']
        state['queued'] = 0.0

    def launch():
        state['queued'] += 3.0

    seconds = interleave(
        {'a': launch}, repeats=3, settle=4, synchronize=wait, clock=lambda: state['time']
    )
    assert seconds == {'a': [3.0, 3.0, 3.0]}


def test_summary_is_numpys():
    values = [0.31, 0.30, 0.35, 0.90, 0.32]
    summary = summarize(values)
    assert summary['mean_s'] == pytest.approx(np.mean(values))
    assert summary['std_s'] == pytest.approx(np.std(values, ddof=1))
    assert summary['median_s'] == pytest.approx(np.median(values))
    assert summary['min_s'] == 0.30
    assert summarize([0.5])['std_s'] == 0.0


@pytest.mark.parametrize('count', [1, 2, 5, 8])
@pytest.mark.parametrize('share', [0.0, 0.25, 0.5, 0.75, 1.0])
def test_quartiles_are_numpys(count, share):
    values = np.random.default_rng(count).random(count)
    assert quartile(list(values), share) == pytest.approx(np.quantile(values, share))


def test_a_load_on_both_calls_of_a_round_cancels():
    load = np.array([1.0, 1.0, 3.0, 1.2, 7.0])
    result = compare(list(2 * load), list(load))
    assert result == {'ratio': 2.0, 'ratio_q25': 2.0, 'ratio_q75': 2.0}


def test_a_load_on_one_of_them_widens_the_quartiles_but_not_the_ratio():
    result = compare([2.0, 2.0, 2.0, 9.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.6])
    assert result['ratio'] == 2.0
    assert result['ratio_q25'] <= 2.0 <= result['ratio_q75']
