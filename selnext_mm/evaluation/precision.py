"""COCO's precision at given recalls."""

import numpy as np


def precision_at(
    right: np.ndarray, wrong: np.ndarray, objects: float, recalls: np.ndarray
) -> np.ndarray:
    """At each recall the largest precision at this or a higher recall; 0 if it is not reached.

    Args:
        right, wrong: (T, n) cumulative counts of right and wrong predictions, by descending score.
        objects: number of objects to find, more than 0.
        recalls: (R,), ascending.

    Returns:
        ndarray: (T, R).
    """
    precision = right / np.maximum(right + wrong, np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    places = [np.searchsorted(row, recalls, side='left') for row in right / objects]
    return np.stack([row[at] for row, at in zip(best, places, strict=True)])
