"""The predictions of a classifier in a test: writing, reading, and the classes it confuses."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from selnext_mm.errors import UserError

ENDING = '.classes.json'
TOP = 5  # classes that are kept per image


@METRICS.register_module()
class ClassPredictions(BaseMetric):
    """Writes the label and the best five classes of every image; it reports no metric itself.

    Nothing is written for images with several labels.

    Args:
        out_file: a file that ends in ``.classes.json``.
    """

    default_prefix = 'predictions'

    def __init__(self, out_file: str) -> None:
        super().__init__()
        self.out_file = Path(out_file)

    def process(self, data_batch, data_samples) -> None:
        for sample in data_samples:
            label, score = sample['gt_label'], sample['pred_score']
            if label.numel() == 1 and score.ndim == 1:
                values, places = score.float().cpu().topk(min(TOP, len(score)))
                top = [
                    [k, round(v, 5)] for k, v in zip(places.tolist(), values.tolist(), strict=True)
                ]
                file = sample.get('img_path')
                self.results.append({'file': file, 'label': int(label), 'top': top})
            else:
                self.results.append(None)

    def compute_metrics(self, results: list) -> dict:
        rows = [row for row in results if row is not None]
        if rows:
            content = {
                'classes': list((self.dataset_meta or {}).get('classes', ())),
                'images': rows,
            }
            self.out_file.write_text(json.dumps(content))
        return {}


@dataclass
class ClassResults:
    """Labels and predictions of N images.

    Attributes:
        classes: names of the K classes.
        files: (N) paths; None where the data set names none.
        label, predicted: (N,) numbers of classes.
        score: (N,) of the predicted class.
        label_score: (N,) of the label's class; 0 if it is not among the best five.
    """

    classes: list[str]
    files: list[str | None]
    label: np.ndarray
    predicted: np.ndarray
    score: np.ndarray
    label_score: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(N,) True where the predicted class is the label."""
        return self.label == self.predicted

    def confusion(self) -> np.ndarray:
        """(K, K) counts: rows labels, columns predictions."""
        size = len(self.classes)
        return np.bincount(self.label * size + self.predicted, minlength=size**2).reshape(
            size, size
        )


def read_class_results(path: str | Path) -> ClassResults:
    """The content of a file that :class:`ClassPredictions` has written.

    Raises:
        UserError: if the file is of another kind, or damaged.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        rows = content['images']
        label = np.array([row['label'] for row in rows], int)
        predicted = np.array([row['top'][0][0] for row in rows], int)
        score = np.array([row['top'][0][1] for row in rows], float)
        of_label = [dict(map(tuple, row['top'])).get(row['label'], 0.0) for row in rows]
        files = [row.get('file') for row in rows]
        classes = list(map(str, content['classes']))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path}: not the predictions of a classifier that "selnext-mm test --out FILE.json" '
            f'writes beside FILE.json ({type(error).__name__}: {error})'
        ) from error
    size = max([len(classes), *(label + 1), *(predicted + 1)])
    classes += [f'class {k}' for k in range(len(classes), size)]
    return ClassResults(classes, files, label, predicted, score, np.array(of_label, float))


def confused_pairs(results: ClassResults, num: int) -> list[tuple[int, int, np.ndarray]]:
    """The pairs of classes that are confused most often.

    Returns:
        ``(label, predicted, images)`` of at most ``num`` pairs, the most frequent first: the
        images with this label and prediction, the most confident first.
    """
    table = results.confusion()
    np.fill_diagonal(table, 0)
    rows, columns = np.nonzero(table)
    order = np.lexsort((columns, rows, -table[rows, columns]))[:num]
    pairs = []
    for k in order:
        of = np.flatnonzero((results.label == rows[k]) & (results.predicted == columns[k]))
        of = of[np.argsort(-results.score[of], kind='stable')]
        pairs.append((int(rows[k]), int(columns[k]), of))
    return pairs


def doubted(results: ClassResults, num: int) -> np.ndarray:
    """The ``num`` images whose labels are most likely wrong, the most suspicious first.

    Suspicion is the score of the predicted class, if it is another one, minus that of the label's.
    """
    wrong = np.flatnonzero(~results.right)
    suspicion = (results.score - results.label_score)[wrong]
    return wrong[np.argsort(-suspicion, kind='stable')][:num]
