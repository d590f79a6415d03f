"""Interleaved timing: every model in every round, in random order, so that load hits all alike."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def quartile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie, by linear interpolation."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def interleave(
    functions: Mapping[str, Callable[[], object]],
    repeats: int,
    warmup: int = 2,
    settle: int = 1,
    seed: int = 0,
    synchronize: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], object] = lambda done, rounds: None,
) -> dict[str, list[float]]:
    """Seconds of every call; entry i of all lists belongs to the same round.

    A round calls every function once, in an order shuffled anew. A turn is ``settle`` untimed
    calls, which bring weights and buffers back into the caches that the model before has used,
    and one timed call.

    Args:
        functions: what to time, by name.
        repeats: timed rounds.
        warmup: untimed rounds before them.
        settle: untimed calls before each timed one.
        seed: of the shuffling.
        synchronize: waits until a device has done its work; called around every timed call.
        clock: seconds.
        progress: called after each round with its number and that of all rounds.
    """
    order = list(functions)
    shuffle = random.Random(seed).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(warmup + repeats):
        shuffle(order)
        for name in order:
            call = functions[name]
            for _ in range(settle):
                call()
            synchronize()
            start = clock()
            call()
            synchronize()
            elapsed = clock() - start
            if number >= warmup:
                seconds[name].append(elapsed)
        progress(number + 1, warmup + repeats)
    return seconds


def summarize(seconds: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation (n - 1), median and minimum of the calls of one model."""
    return {
        'mean_s': statistics.fmean(seconds),
        'std_s': statistics.stdev(seconds) if len(seconds) > 1 else 0.0,
        'median_s': statistics.median(seconds),
        'min_s': min(seconds),
    }


def compare(seconds: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """Ratio of the medians, and the quartiles of the ratios round by round.

    The two calls of a round stand seconds apart, so that a load that lasts longer cancels in
    their ratio; the quartiles tell what is left.
    """
    ratios = [a / b for a, b in zip(seconds, baseline, strict=True)]
    return {
        'ratio': statistics.median(seconds) / statistics.median(baseline),
        'ratio_q25': quartile(ratios, 0.25),
        'ratio_q75': quartile(ratios, 0.75),
    }
