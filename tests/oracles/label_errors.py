"""The labels that a detector doubts, for boxes, written out with loops and lists.

Independent of numpy, pycocotools and selnext_mm; tuples as in tests/oracles/error_types.py.
"""

from tests.oracles.error_types import greedy, iou, judge


def doubt(p, truth, predictions, taken):
    """(suspicion, kind, number of the doubted label or None) of one wrong prediction."""
    box = predictions[p]
    score = box[6]
    there = [n for n, t in enumerate(truth) if t[0] == box[0] and not t[6]]
    own = [(iou(box, truth[n]), n) for n in there if truth[n][1] == box[1]]
    other = [(iou(box, truth[n]), n) for n in there if truth[n][1] != box[1]]
    best, best_other = max(own, default=(0, None)), max(other, default=(0, None))
    if best_other[0] >= 0.5:
        agreeing = [predictions[q][6] for q, n in taken.items() if n == best_other[1]]
        return score * (1 - sum(agreeing)), 'another class', best_other[1]
    if best[0] >= 0.1 and best[1] not in taken.values():
        return score * (1 - best[0]), 'another place', best[1]
    return score * (1 - best[0]), 'no label', None


def suspects(truth, predictions, least):
    """[(suspicion, kind, number of the prediction, number of the label or None)], worst first."""
    taken, ignored = greedy(truth, predictions)
    kind, _ = judge(truth, predictions, taken, ignored)
    rows = [
        (*doubt(p, truth, predictions, taken), p)
        for p in kind
        if kind[p] != 'duplicate' and predictions[p][6] >= least
    ]
    listed = []
    for suspicion, name, label, p in sorted(rows, key=lambda row: -row[0]):
        shown = [predictions[q] for _, _, q, _ in listed]
        here = [s for s in shown if s[0] == predictions[p][0]]
        if all(iou(predictions[p], s) < 0.5 for s in here):
            listed.append((suspicion, name, p, label))
    return listed
