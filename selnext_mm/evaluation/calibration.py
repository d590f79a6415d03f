"""Calibration of scores: of predictions with score 0.8, 80 % should be right."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Calibration:
    """Predictions in B bins of equal width, by score.

    Attributes:
        counts: (B,) predictions of each bin.
        scores: (B,) mean score; NaN in an empty bin.
        shares: (B,) share of right predictions; NaN in an empty bin.
        error: expected calibration error: sum over the bins of counts / N * |share - score|; None
            without predictions.
        largest: the largest \\|share - score\\| of a bin; None without predictions.
    """

    counts: np.ndarray
    scores: np.ndarray
    shares: np.ndarray
    error: float | None
    largest: float | None


def calibration(score: np.ndarray, right: np.ndarray, bins: int = 10) -> Calibration:
    """Compare scores with the share of right predictions.

    Expected calibration error of Guo et al. (2017); for detections, by score alone, that of
    Küppers et al. (2020), where right means an object of the class at an IoU of 0.5 or more.

    Args:
        score: (N,) in 0..1.
        right: (N,) True for right predictions.
        bins: number of bins; a score on an edge belongs to the lower bin.
    """
    score, right = np.asarray(score, float), np.asarray(right, float)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score, side='left')
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid='ignore'):
        scores = np.bincount(place, score, bins) / counts
        shares = np.bincount(place, right, bins) / counts
    there = counts > 0
    if not there.any():
        return Calibration(counts, scores, shares, None, None)
    gaps = np.abs(shares - scores)[there]
    error = float((counts[there] * gaps).sum() / len(score))
    return Calibration(counts, scores, shares, error, float(gaps.max()))
