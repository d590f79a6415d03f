"""COCO's precision at given recalls."""

import numpy as np


def precision_at(
    right: np.ndarray, wrong: np.ndarray, objects: float, recalls: np.ndarray
) -> np.ndarray:
    """At each recall the largest precision of this or a higher one; 0 where none reaches it.

    Args:
        right, wrong: (T, n) how many of the first predictions, by falling score, are so.
        objects: how many there are to find, more than 0.
        recalls: (R,), rising.

    Returns:
        ndarray: (T, R).
    """
    precision = right / np.maximum(right + wrong, np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    places = [np.searchsorted(row, recalls, side='left') for row in right / objects]
    return np.stack([row[at] for row, at in zip(best, places, strict=True)])
