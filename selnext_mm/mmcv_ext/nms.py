"""Non-maximum suppression: greedy, soft, and greedy with the suppressed boxes kept in groups."""

import torch
from torch import Tensor

from selnext_mm.mmcv_ext.boxes import overlaps, with_area
from selnext_mm.mmcv_ext.numeric import exact, working
from selnext_mm.mmcv_ext.torchvision_ops import chosen

BLOCK = 128  # boxes decided together; the fastest of 32 to 256, measured with 1000 to 9000 boxes


def greedy(suppresses: Tensor) -> Tensor:
    """Which of N sorted boxes are kept: those that no earlier kept box suppresses.

    Args:
        suppresses: (N, N), True at (i, j) if box i, when kept, suppresses box j; used for i < j.

    Starting from all boxes, those that a kept box suppresses are dropped, again and again until
    nothing changes. After k steps the first k boxes are as in the sequential algorithm.
    """
    suppresses = suppresses.triu(1)
    kept = suppresses.new_ones(len(suppresses))
    while True:
        before, kept = kept, ~(suppresses & kept[:, None]).any(0)
        if torch.equal(before, kept):
            return kept


def sorted_nms(boxes: Tensor, order: Tensor, threshold: float, offset: int) -> Tensor:
    """The indices of ``order`` whose boxes are kept, computed in blocks of :data:`BLOCK`.

    :func:`greedy` decides a block; then the boxes that its kept boxes suppress are removed from
    the rest. So later blocks contain only boxes that no earlier block suppresses.
    """
    columns, kept = with_area(boxes[order], offset), []
    while len(order):
        head, tail = columns[:, :BLOCK], columns[:, BLOCK:]
        chosen_here = greedy(overlaps(head[:, :, None], head[:, None, :], offset) > threshold)
        kept.append(order[:BLOCK][chosen_here])
        if not len(order[BLOCK:]):
            break
        head = head[:, chosen_here]
        free = ~(overlaps(head[:, :, None], tail[:, None, :], offset) > threshold).any(0)
        columns, order = tail[:, free], order[BLOCK:][free]
    return torch.cat(kept) if kept else order


def rounded(threshold: float) -> float:
    """``threshold`` rounded to float32, as in the compiled operators."""
    return torch.tensor(threshold, dtype=torch.float32).item()


@exact
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes (K,), by descending score.

    A box is removed if its overlap with a kept box of higher score is above ``iou_threshold``.

    Args:
        boxes: (N, 4).
        scores: (N,).
        offset: 0, or 1 for boxes that include their last pixel.
    """
    boxes, scores, threshold = working(boxes), working(scores), rounded(iou_threshold)
    if not len(boxes):
        return torch.empty(0, dtype=torch.long, device=boxes.device)
    order = scores.sort(descending=True).indices
    if offset == 0 and chosen('nms', boxes):
        # Ranks, not scores: torchvision would sort equal scores in another order than mmcv.
        ranks = torch.arange(len(order), 0, -1, dtype=boxes.dtype, device=boxes.device)
        return order[torch.ops.torchvision.nms(boxes[order], ranks, threshold)]
    return sorted_nms(boxes, order, threshold, offset)


@exact
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of indices: a kept box and those that it suppresses, each by descending score.

    A box is suppressed if the overlap is ``iou_threshold`` or more.

    Args:
        dets: (N, 5), the last column being the scores.
    """
    dets, threshold = working(dets), rounded(iou_threshold)
    order = dets[:, 4].sort(descending=True).indices
    columns, groups = with_area(dets[order, :4], 0), []
    while len(order):
        matched = overlaps(columns[:, :1], columns, 0) >= threshold
        matched[0] = True  # the overlap of a box without area with itself is nan
        groups.append(order[matched].tolist())
        columns, order = columns[:, ~matched], order[~matched]
    return groups


def decay(iou: Tensor, method: int, threshold: float, sigma: float) -> Tensor:
    """Factors for the scores of boxes that overlap by ``iou`` with a chosen one."""
    if method == 2:
        return torch.exp(-(iou * iou) / sigma)
    factor = 1 - iou if method == 1 else torch.zeros_like(iou)
    return torch.where(iou >= threshold, factor, 1.0)


def best_score(scores: Tensor) -> int:
    """Index of the first highest score. A nan, of a box without area, wins only at index 0.

    This is what comparing each score with the best one before it gives.
    """
    if scores[0].isnan():
        return 0
    return int(scores.nan_to_num(-torch.inf, torch.inf, -torch.inf).argmax())


def removals(places: list[int], end: int) -> tuple[list[tuple[int, int]], int]:
    """How ``places`` are removed from a list of ``end`` entries, and how many remain.

    As in the compiled operator, the last entry replaces the removed one, unless it is to be removed
    itself. The order of equal scores depends on this.

    Returns:
        Moves (from, to), and the new end.
    """
    gone, moves = set(places), []
    for place in sorted(places):
        while end > place and end - 1 in gone:
            end -= 1
        if end <= place:
            break
        end -= 1
        moves.append((end, place))
    return moves, end


@exact
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Repeatedly choose the box with the highest score and lower the scores of its neighbours.

    Scores are multiplied by 0 (``method`` 0) or 1 - iou (1) where iou >= ``iou_threshold``, by
    exp(-iou^2 / sigma) (2) everywhere. A box is dropped when its score falls below ``min_score``.

    Args:
        boxes: (N, 4).
        scores: (N,).
        dets: (N, 5); the first K rows become the chosen boxes with their lowered scores.

    Returns:
        Tensor: indices (K,) of the chosen boxes.
    """
    threshold, end = rounded(iou_threshold), len(boxes)
    rows = torch.cat([with_area(working(boxes), offset), working(scores)[None]])
    index = torch.arange(end, device=boxes.device)
    at = 0
    while at < end:
        best = at + best_score(rows[5, at:end])
        swap = torch.tensor([at, best], device=boxes.device)
        rows[:, swap] = rows[:, swap.flip(0)]
        index[swap] = index[swap.flip(0)]
        rest = rows[:, at + 1 : end]
        rest[5] *= decay(overlaps(rows[:5, at, None], rest[:5], offset), method, threshold, sigma)
        if (low := rest[5] < min_score).any():
            places = (low.nonzero().flatten() + at + 1).tolist()
            moves, end = removals(places, end)
            for source, target in moves:
                rows[:, target], index[target] = rows[:, source], index[source]
        at += 1
    dets[:end, :4] = rows[:4, :end].T
    dets[:end, 4] = rows[5, :end]
    return index[:end]
