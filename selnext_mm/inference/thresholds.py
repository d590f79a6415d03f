"""The lowest score that is shown, one for all classes or one per class, and the file with them.

``selnext-mm report --thresholds FILE`` writes such a file, ``selnext-mm export --thresholds FILE``
stores it in a model's file::

    {"thresholds": {"circle": 0.41, "ring": null}, ...}
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean, preview
from selnext_mm.visualization import SCORE_THR

# One score, or one per label.
Thresholds: TypeAlias = float | Sequence[float]


def threshold_of(label: int, thresholds: Thresholds) -> float:
    """The lowest score of an object of class ``label``."""
    return thresholds[label] if isinstance(thresholds, Sequence) else thresholds


def shown(instances: Iterable[dict], thresholds: Thresholds) -> list[dict]:
    """Those of ``instances`` whose score is at least the threshold of their class."""
    return [i for i in instances if i['score'] >= threshold_of(i['label'], thresholds)]


def in_words(thresholds: Thresholds, source: str = '') -> str:
    """'0.3', or "the threshold of its class (0.31 to 0.62, from model.onnx)"."""
    if not isinstance(thresholds, Sequence):
        return f'{thresholds:g}'
    of = f', from {source}' if source else ''
    return f'the threshold of its class ({min(thresholds):.2f} to {max(thresholds):.2f}{of})'


def rounded_down(score: float | None) -> float | None:
    """``score`` rounded down to four digits, so that an object with this score is still shown."""
    return None if score is None else math.floor(score * 10_000) / 10_000


def read_thresholds(path: str | Path, classes: Sequence[str]) -> list[float | None]:
    """One score per class, in the order of ``classes``; None where the file has none.

    Raises:
        UserError: for a file of another kind, or one that names a class not in ``classes``.
    """
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or f'not JSON: {error}'
        raise UserError(f'--thresholds {path}: {reason}') from error
    scores = content.get('thresholds') if isinstance(content, dict) else None
    if not isinstance(scores, dict):
        raise UserError(
            f'--thresholds {path} has no "thresholds" of classes; "selnext-mm report WORK_DIR '
            '--thresholds FILE" writes them'
        )
    unknown = [name for name in scores if name not in classes]
    if unknown:
        raise UserError(
            f'--thresholds {path}: {preview(unknown)} is not a class of the model'
            + did_you_mean(unknown[0], classes)
        )
    for name, score in scores.items():
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if score is not None and not (number and 0 <= score <= 1):
            raise UserError(f'--thresholds {path}: {name} has {score!r}; expected 0 to 1, or null')
    result = [scores.get(name) for name in classes]
    if all(score is None for score in result):
        raise UserError(f'--thresholds {path} has no score for any class of the model')
    return [None if score is None else float(score) for score in result]


def stored_thresholds(text: str | None) -> tuple[float, ...] | None:
    """One score per class from the metadata of a model's file; 0.3 for a class without one.

    None if the metadata have no thresholds.
    """
    if not text:
        return None
    return tuple(SCORE_THR if score is None else float(score) for score in json.loads(text))
