"""Equations 4 and 5, pair by pair in float64, importing nothing of ours."""

import math


def feature_distance(channels):
    """Mean of (1 - cos) / 2 over all ordered pairs of rows; a zero row: cosine 0, itself 1."""
    total = 0.0
    for i, a in enumerate(channels):
        for j, b in enumerate(channels):
            norms = math.sqrt(math.fsum(v * v for v in a) * math.fsum(v * v for v in b))
            dot = math.fsum(v * w for v, w in zip(a, b, strict=True))
            cosine = 1.0 if i == j else (dot / norms if norms else 0.0)
            total += (1 - cosine) / 2
    return total / len(channels) ** 2
