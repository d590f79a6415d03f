"""The kinds of error of Bolya et al. (TIDE, 2020) for boxes, written out with loops and lists.

Independent of numpy, pycocotools and selnext_mm. Truth: (image, class, x, y, w, h, crowd?).
Predictions: (image, class, x, y, w, h, score).
"""

KINDS = ('classification', 'localisation', 'both', 'duplicate', 'background', 'missed')


def inter(a, b):
    wide = min(a[2] + a[4], b[2] + b[4]) - max(a[2], b[2])
    high = min(a[3] + a[5], b[3] + b[5]) - max(a[3], b[3])
    return max(wide, 0) * max(high, 0)


def iou(a, b):
    return inter(a, b) / (a[4] * a[5] + b[4] * b[5] - inter(a, b))


def greedy(truth, predictions):
    """(prediction -> object, predictions that lie in a crowd): COCO's rule at IoU 0.5."""
    taken, ignored = {}, set()
    for p in sorted(range(len(predictions)), key=lambda p: -predictions[p][6]):
        box = predictions[p]
        near = [
            (iou(box, t), n)
            for n, t in enumerate(truth)
            if t[:2] == box[:2] and not t[6] and n not in taken.values() and iou(box, t) >= 0.5
        ]
        crowds = [t for t in truth if t[:2] == box[:2] and t[6]]
        if near:
            taken[p] = max(near)[1]
        elif any(inter(box, t) / (box[4] * box[5]) >= 0.5 for t in crowds):
            ignored.add(p)
    return taken, ignored


def ap(hits, objects):
    """101 points; ``hits`` True or False by falling score."""
    total = 0.0
    for step in range(101):
        best = 0.0
        for length in range(1, len(hits) + 1):
            right = sum(hits[:length])
            if right / objects >= step / 100 - 1e-12:
                best = max(best, right / length)
        total += best
    return total / 101


def mean_ap(rows, objects):
    """``rows``: (score, image, place, class, right?); ``objects``: their classes."""
    classes = sorted(set(objects))
    values = []
    for c in classes:
        mine = sorted((r for r in rows if r[3] == c), key=lambda r: (-r[0], r[1], r[2]))
        values.append(ap([r[4] for r in mine], objects.count(c)))
    return sum(values) / len(values) if values else None


def judge(truth, predictions, taken, ignored):
    """(prediction -> kind of error, prediction -> object that it was meant for)."""
    kind, goal = {}, {}
    for p, box in enumerate(predictions):
        if p in taken or p in ignored:
            continue
        there = [n for n, t in enumerate(truth) if t[0] == box[0] and not t[6]]
        own = [(iou(box, truth[n]), -n) for n in there if truth[n][1] == box[1]]
        other = [(iou(box, truth[n]), -n) for n in there if truth[n][1] != box[1]]
        best, best_other = max(own, default=(0, 0)), max(other, default=(0, 0))
        if 0.1 <= best[0] < 0.5:
            kind[p], goal[p] = 'localisation', -best[1]
        elif best_other[0] >= 0.5:
            kind[p], goal[p] = 'classification', -best_other[1]
        elif best[0] >= 0.5:
            kind[p] = 'duplicate'
        else:
            kind[p] = 'both' if best_other[0] >= 0.1 else 'background'
    return kind, goal


def analyse(truth, predictions):
    """(AP, {kind: how many}, {kind: AP once it is fixed})."""
    taken, ignored = greedy(truth, predictions)
    kind, goal = judge(truth, predictions, taken, ignored)
    objects = [n for n, t in enumerate(truth) if not t[6]]
    missed = [n for n in objects if n not in taken.values() and n not in goal.values()]
    counts = {k: list(kind.values()).count(k) for k in KINDS}
    counts['missed'] = len(missed)

    def rows(drop=(), right=()):
        result = []
        for p, box in enumerate(predictions):
            if p not in ignored and p not in drop:
                c = truth[goal[p]][1] if p in right else box[1]
                result.append((box[6], box[0], p, c, p in taken or p in right))
        return result

    every = [truth[n][1] for n in objects]
    fixed = {}
    for name in KINDS[:-1]:
        of = [p for p in kind if kind[p] == name]
        best = {}
        for p in of:
            n = goal.get(p)
            if n is None or n in taken.values():
                continue
            rank = (-predictions[p][6], predictions[p][0], p)
            if n not in best or rank < best[n]:
                best[n] = rank
        right = {rank[2] for rank in best.values()}
        fixed[name] = mean_ap(rows(set(of) - right, right), every)
    fixed['missed'] = mean_ap(rows(), [truth[n][1] for n in objects if n not in missed])
    fixed['all false positives'] = mean_ap(rows(set(kind)), every)
    found = [truth[n][1] for n in objects if n in taken.values()]
    fixed['all false negatives'] = mean_ap(rows(), found)
    return mean_ap(rows(), every), counts, fixed
