"""What several slices found, each object once."""

from typing import Any

import numpy as np

from selnext_mm.slicing.windows import NEAR_PIXELS, Piece, _mask_utils


def _corners(piece: Piece) -> list[float]:
    x, y, w, h = piece.item['bbox']
    return [x, y, x + w, y + h]


def _overlaps(corners: list[float], others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(intersection over union, intersection over the smaller one) with each of ``others``."""
    own = np.array(corners)
    low, high = np.maximum(own[:2], others[:, :2]), np.minimum(own[2:], others[:, 2:])
    inside = (high - low).clip(0).prod(1)
    area, areas = np.prod(own[2:] - own[:2]), (others[:, 2:] - others[:, :2]).prod(1)
    tiny = 1e-9
    return (
        inside / np.maximum(area + areas - inside, tiny),
        inside / np.maximum(np.minimum(area, areas), tiny),
    )


def _masks_agree(a: Piece, b: Piece, threshold: float) -> bool:
    """Whether the masks also pass the criterion applied to the boxes; True without masks."""
    first, second = a.item.get('segmentation'), b.item.get('segmentation')
    if first is None or second is None:
        return True
    mask_utils = _mask_utils()
    areas = [float(mask_utils.area(m)) for m in (first, second)]
    if not min(areas):
        return True
    # For a crowd pycocotools returns the share of the first mask that is inside it.
    inside = float(mask_utils.iou([first], [second], [1])[0, 0]) * areas[0]
    of = sum(areas) - inside if a.whole and b.whole else min(areas)
    return inside / of >= threshold


def _united(a: Piece, b: Piece) -> dict[str, Any]:
    """The union of both boxes and masks, and the sides that are still cut by a slice."""
    first, second = _corners(a), _corners(b)
    outer = [min(p) for p in zip(first[:2], second[:2], strict=True)]
    outer += [max(p) for p in zip(first[2:], second[2:], strict=True)]
    ends = [(first, a.cut), (second, b.cut)]
    cut = tuple(
        # If two pieces share an edge, one that is not cut there shows that the object ends.
        all(sides[k] for corners, sides in ends if abs(corners[k] - edge) <= NEAR_PIXELS)
        for k, edge in enumerate(outer)
    )
    x0, y0, x1, y1 = outer
    change: dict[str, Any] = dict(bbox=[x0, y0, x1 - x0, y1 - y0])
    masks = [p.item['segmentation'] for p in (a, b) if 'segmentation' in p.item]
    if masks:
        rle = _mask_utils().merge(masks)
        change['segmentation'] = dict(size=list(rle['size']), counts=rle['counts'].decode())
    return dict(change=change, cut=cut)


def _absorb(kept: Piece, other: Piece) -> None:
    """Absorb ``other``, the same object: a whole piece wins, two parts are joined."""
    if not kept.whole:
        if other.whole:
            change = {k: other.item[k] for k in ('bbox', 'segmentation') if k in other.item}
            cut = other.cut
        else:
            change, cut = _united(kept, other).values()
        kept.item, kept.cut = kept.item | change, cut
    kept.sources |= other.sources


def _merge_class(pieces: list[Piece], threshold: float) -> list[Piece]:
    pieces = sorted(pieces, key=lambda p: -p.item['score'])
    corners = np.array([_corners(p) for p in pieces])
    whole = np.array([p.whole for p in pieces])
    left = np.ones(len(pieces), dtype=bool)
    result = []
    for i, kept in enumerate(pieces):
        if not left[i]:
            continue
        left[i] = False
        refused: set[int] = set()
        while True:
            rest = np.flatnonzero(left)
            union, smaller = _overlaps(_corners(kept), corners[rest])
            overlap = np.where(whole[rest] & kept.whole, union, smaller)
            for k in np.argsort(-overlap, kind='stable'):
                j = int(rest[k])
                if overlap[k] < threshold:
                    j = -1
                    break
                if j in refused or pieces[j].sources & kept.sources:
                    continue
                if _masks_agree(kept, pieces[j], threshold):
                    break
                refused.add(j)
            else:
                j = -1
            if j < 0:
                break
            before = kept.item
            _absorb(kept, pieces[j])
            left[j] = False
            if kept.item is not before:
                refused.clear()
        result.append(kept)
    return result


def merge(pieces: list[Piece], threshold: float = 0.5) -> list[dict]:
    """The objects to which the ``pieces`` belong, best first.

    For each class, starting from the best score, a piece absorbs overlapping ones of other slices:

    - two uncut pieces are one object if their IoU is at least ``threshold``, and the better one
      stays (non-maximum suppression);
    - if a slice cuts one of them, they are one object if the intersection is at least
    ``threshold`` of the smaller one. A whole piece stays; the boxes and masks of two parts are
    joined, and the result absorbs further parts (non-maximum merging).

    With masks the criterion has to hold for boxes and masks. Two objects of one slice stay
    separate, since the model has distinguished them.
    """
    classes: dict[int, list[Piece]] = {}
    for piece in pieces:
        classes.setdefault(piece.item['label'], []).append(piece)
    found = [p.item for own in classes.values() for p in _merge_class(own, threshold)]
    return sorted(found, key=lambda item: -item['score'])
