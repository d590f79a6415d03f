"""The labels that are most likely wrong: where a confident prediction contradicts them."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from selnext_mm.evaluation.error_types import BACKGROUND, FOREGROUND, Outcomes
from selnext_mm.evaluation.matching import overlaps

NO_LABEL, OTHER_CLASS, OTHER_BOX = 'no label', 'another class', 'another place'


@dataclass
class Suspect:
    """One place where prediction and labels differ.

    ``kind``: 'no label', 'another class', or 'another place' (a label of the same class overlaps,
    but by less than 0.5). ``label`` is the doubted annotation; None for 'no label'.
    """

    kind: str
    suspicion: float
    prediction: dict
    label: dict | None


def _judge(o: Outcomes, n: int) -> tuple[str, float, int]:
    """(kind, suspicion, index of the doubted object or -1) of prediction ``n``."""
    if o.other_iou[n] >= FOREGROUND:
        doubted = int(o.other_object[n])
        agreed = max(float(o.object_score[doubted]), 0.0)
        return OTHER_CLASS, float(o.score[n]) * (1 - agreed), doubted
    suspicion = float(o.score[n] * (1 - o.own_iou[n]))
    own = int(o.own_object[n])
    if o.own_iou[n] >= BACKGROUND and o.object_score[own] < 0:
        return OTHER_BOX, suspicion, own
    return NO_LABEL, suspicion, -1


def suspects(o: Outcomes, num: int, least: float = 0.5) -> list[Suspect]:
    """The ``num`` most suspicious labels, worst first; one for each place.

    Suspicion, in 0..1, from predictions that are neither right nor duplicates:

    - another class: score x (1 - score of the prediction that agrees with the label, if any);
    - another place: score x (1 - IoU with the label), where no prediction agrees with it;
    - no label: score x (1 - IoU with the nearest label of the class).

    A detector that is often wrong raises many false suspicions. The list is more useful the better
    the detector is, and the less it was trained on these labels.

    Args:
        o: outcomes of the predictions.
        num: maximum number of labels.
        least: lowest score of the predictions that are used.
    """
    wrong = ~np.isin(o.outcome, ('right', 'duplicate')) & (o.score >= least)
    rows = [(*_judge(o, n), n) for n in np.flatnonzero(wrong)]
    rows.sort(key=lambda row: (-row[1], row[3]))
    shown: dict = defaultdict(list)  # per image
    result: list[Suspect] = []
    for kind, suspicion, doubted, n in rows:
        if len(result) == num:
            break
        prediction = o.predictions[n]
        near = shown[prediction['image_id']]
        if near and overlaps([prediction], near, {}, 'bbox').max() >= FOREGROUND:
            continue
        near.append({'bbox': prediction['bbox']})
        label = o.objects[doubted] if doubted >= 0 else None
        result.append(Suspect(kind, suspicion, prediction, label))
    return result
