"""Batches of inputs of equal shape, for models with and without PyTorch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar('Result')


def run_by_shape(
    shapes: Sequence[tuple[int, ...]], run: Callable[[list[int]], Sequence[Result]]
) -> list[Result]:
    """The results of all inputs, in their order; those of equal shape run together.

    Args:
        shapes: one per input.
        run: positions of inputs of one shape -> their results, in the same order.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(place)
    found: dict[int, Result] = {}
    for places in groups.values():
        found |= zip(places, run(places), strict=True)
    return [found[place] for place in range(len(shapes))]
