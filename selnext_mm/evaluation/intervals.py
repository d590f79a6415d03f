"""How much AP depends on the choice of the test images: bootstrap intervals."""

from collections.abc import Sequence

import numpy as np

from selnext_mm.evaluation.coco_scores import SIZES
from selnext_mm.evaluation.precision import precision_at

LEVEL = 0.95
AREAS = ('', *(f' {size}' for size in SIZES))


class _Class:
    """The detections of one class and one area range, best first, with their images."""

    def __init__(self, parts: Sequence[dict | None], most: int) -> None:
        rows = [(i, part) for i, part in enumerate(parts) if part is not None]
        self.objects = np.zeros(len(parts))
        for i, part in rows:
            self.objects[i] = (np.asarray(part['gtIgnore']) == 0).sum()
        scores = np.concatenate([part['dtScores'][:most] for _, part in rows] or [[]])
        order = np.argsort(-scores, kind='stable')
        sizes = [len(part['dtScores'][:most]) for _, part in rows]
        self.image = np.repeat([i for i, _ in rows], sizes).astype(int)[order]

        def gathered(key: str) -> np.ndarray:
            columns = [np.asarray(part[key], bool)[:, :most] for _, part in rows]
            return np.concatenate(columns, axis=1)[:, order] if columns else np.zeros((1, 0), bool)

        matched, ignored = gathered('dtMatches'), gathered('dtIgnore')
        self.right, self.wrong = matched & ~ignored, ~matched & ~ignored

    def precision(self, times: np.ndarray, recalls: np.ndarray) -> np.ndarray | None:
        """(T, R) with image i taken ``times[i]`` times; None where no object is left."""
        objects = self.objects @ times
        if not objects:
            return None
        weight = times[self.image]
        right = np.cumsum(self.right * weight, axis=1)
        wrong = np.cumsum(self.wrong * weight, axis=1)
        return precision_at(right, wrong, objects, recalls)


def precision_table(evaluation) -> list[list[_Class]]:
    """For each area range, the classes of an evaluated ``COCOeval``."""
    params = evaluation.params
    images, areas = len(params.imgIds), len(params.areaRng)
    most = params.maxDets[-1]
    table = []
    for a in range(areas):
        starts = [(k * areas + a) * images for k in range(len(params.catIds))]
        table.append([_Class(evaluation.evalImgs[s : s + images], most) for s in starts])
    return table


def ap_of(table: list[list[_Class]], params, times: np.ndarray) -> dict[str, float | None]:
    """AP, AP50, AP75 and AP of each size, with image i taken ``times[i]`` times; in 0..1.

    Means over classes with objects, IoU thresholds and recalls; equal to COCO's AP on a test set
    that repeats the images accordingly. None if there is no such object or threshold.
    """
    at = [round(float(t), 2) for t in params.iouThrs]
    values: dict[str, float | None] = {}
    for name, classes in zip(AREAS, table, strict=True):
        found = [c.precision(times, params.recThrs) for c in classes]
        kept = [p for p in found if p is not None]
        values[f'AP{name}'] = float(np.mean(kept)) if kept else None
        for threshold in () if name else (0.5, 0.75):
            rows = [p[at.index(threshold)] for p in kept] if threshold in at else []
            values[f'AP{100 * threshold:.0f}'] = float(np.mean(rows)) if rows else None
    return values


def ap_intervals(evaluation, resamples: int = 400, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % intervals of the APs, in 0..1: percentiles of the bootstrap over the test images.

    Each resample draws as many images as there are, with replacement, and computes the AP of
    those. So an interval shows how much AP depends on the choice of the images, not on the seed of
    a training. Names for which some resamples have no AP are left out.

    Args:
        evaluation: a ``COCOeval`` that has been evaluated.
        resamples: number of resamples; 400 give each end to about 4 % of the width.
        seed: of the draws.
    """
    table, params = precision_table(evaluation), evaluation.params
    count, random = len(params.imgIds), np.random.default_rng(seed)
    draws: dict[str, list[float | None]] = {}
    for _ in range(resamples):
        times = np.bincount(random.integers(0, count, count), minlength=count).astype(float)
        for name, value in ap_of(table, params, times).items():
            draws.setdefault(name, []).append(value)
    tail = (1 - LEVEL) / 2
    intervals = {}
    for name, values in draws.items():
        if None not in values:
            low, high = np.quantile(values, (tail, 1 - tail))
            intervals[name] = (float(low), float(high))
    return intervals
