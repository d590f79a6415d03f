"""The section of a report about classifiers: confusion, confused pairs, scores, doubted labels."""

import base64
import io
from math import comb
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from selnext_mm.datasets.pixels import read_rgb
from selnext_mm.evaluation.calibration import calibration
from selnext_mm.evaluation.class_predictions import (
    ENDING,
    ClassResults,
    confused_pairs,
    doubted,
    read_class_results,
)
from selnext_mm.report import charts
from selnext_mm.report.errors import calibration_chart, calibration_note
from selnext_mm.report.work_dir import Run, find_path
from selnext_mm.text import counted

SIDE = 180  # pixels of the longer side of an image
EXAMPLES = 4  # images of a confused pair
MOST = 120  # classes of a confusion matrix


def find_class_results(run: Run, given: Path | None) -> Path | None:
    """The newest predictions of a classifier in a work dir, or those beside ``given``."""
    if given is not None:
        name = given.name.removesuffix(ENDING).removesuffix('.json')
        path = given.with_name(f'{name}{ENDING}')
        return path if path.is_file() else None
    found = [p for pattern in (f'*{ENDING}', f'*/*{ENDING}') for p in run.folder.glob(pattern)]
    return max(found, key=lambda p: p.stat().st_mtime, default=None)


class _Pictures:
    """Thumbnails of a run's images; counts the images that cannot be read."""

    def __init__(self, results: ClassResults, run: Run) -> None:
        self.results, self.run, self.unread = results, run, 0

    def card(self, n: int, words: str) -> dict:
        name = self.results.files[n]
        card = {'file': Path(name).name if name else f'image {n}', 'words': words, 'src': None}
        path = find_path(name, self.run.folder) if name else None
        try:
            if path is None:
                raise OSError('not found')
            picture = Image.fromarray(read_rgb(path))
        except OSError:
            self.unread += 1
            return card
        data = io.BytesIO()
        small = ImageOps.contain(picture, (SIDE, SIDE), Image.Resampling.LANCZOS)
        small.save(data, 'JPEG', quality=80, optimize=True)
        card['src'] = f'data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}'
        return card


def _said(results: ClassResults, n: int) -> str:
    of = results.classes
    return f'{of[results.predicted[n]]} {results.score[n]:.2f}, labelled {of[results.label[n]]}'


def _change(first: ClassResults, second: ClassResults, n: int) -> str:
    before = first.classes[first.predicted[n]]
    return f'{before}, now {_said(second, n)}'


def sign_test(better: int, worse: int) -> float:
    """Two-sided p-value of a difference of ``better`` and ``worse`` (McNemar's exact test)."""
    total = better + worse
    tail = sum(comb(total, k) for k in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / 2**total)


def compare(first: ClassResults, second: ClassResults) -> tuple[np.ndarray, np.ndarray] | None:
    """Images that only the second run gets right, and that only the first does.

    The most confident prediction comes first. None if the runs were not tested on the same images.
    """
    if first.files != second.files or not np.array_equal(first.label, second.label):
        return None
    better = np.flatnonzero(~first.right & second.right)
    worse = np.flatnonzero(first.right & ~second.right)
    better = better[np.argsort(-second.score[better], kind='stable')]
    return better, worse[np.argsort(-second.score[worse], kind='stable')]


def _one(run: Run, results: ClassResults, number: int, num: int) -> dict:
    pictures = _Pictures(results, run)
    totals = np.bincount(results.label, minlength=len(results.classes))
    pairs = []
    for label, predicted, images in confused_pairs(results, num):
        words = f'{results.classes[label]} taken for {results.classes[predicted]}'
        cards = [pictures.card(n, _said(results, n)) for n in images[:EXAMPLES]]
        share = f'{len(images)} of {totals[label]} ({len(images) / totals[label]:.0%})'
        pairs.append({'words': words, 'count': share, 'cards': cards})
    wrong = [pictures.card(n, f'predicted {_said(results, n)}') for n in doubted(results, num)]
    figures = []
    if len(results.classes) <= MOST:
        note = 'number of images; predicted is the class with the highest score'
        name, ident = f'Confusion matrix of {run.name}', f'class-confusion-{number}'
        table = results.confusion()
        figures = [charts.confusion(name, ident, results.classes, table, note)]
    if pictures.unread:
        images = counted(pictures.unread, 'image was', 'images were')
        run.notes.append(f'{images} not found or cannot be read')
    right = results.right
    head = f'{right.sum()} of {len(right)} images right ({right.mean():.1%})'
    return {'name': run.name, 'head': head, 'charts': figures, 'pairs': pairs, 'doubted': wrong}


def classification(tested: list[tuple[Run, Path]], num: int) -> dict | None:
    """Charts, cards and comparisons of the classifiers that have predictions; None without any.

    Args:
        tested: runs and the files that :class:`ClassPredictions` wrote.
        num: how many pairs, and how many doubted labels, to show at most.
    """
    if not tested:
        return None
    read = [(run, read_class_results(path)) for run, path in tested]
    runs = [_one(run, results, n, num) for n, (run, results) in enumerate(read, 1)]
    scores = {run.name: calibration(results.score, results.right) for run, results in read}
    note = calibration_note(scores, 'of the class with the highest score')
    pairs = []
    (base, first), *others = read
    for run, second in others:
        both = compare(first, second)
        if both is None:
            run.notes.append(f'not compared by image: {base.name} was tested on other images')
            continue
        pictures = _Pictures(second, run)
        better, worse = both
        sides = [
            (title, [pictures.card(n, _change(first, second, n)) for n in images[:num]])
            for title, images in (('better', better), ('worse', worse))
        ]
        p = sign_test(len(better), len(worse))
        head = (
            f'Images that only {run.name} gets right: {len(better)}, only {base.name}: '
            f'{len(worse)} (p = {p:.2g}, exact sign test)'
        )
        pairs.append({'name': run.name, 'head': head, 'sides': sides})
    return {
        'runs': runs,
        'calibration': calibration_chart('class-calibration', scores, note),
        'comparisons': pairs,
    }
