"""Matching of predictions and objects: confusion matrix and the quality of an image."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as mask_utils

from selnext_mm.evaluation.coco_scores import category_ids, rle


@dataclass
class ImageMatch:
    """Ground truth and predictions of one image, with the outcome of each.

    ``truth_state``: 'found', 'confused', 'missed', or 'crowd'; ``found_state``: 'right',
    'confused', or 'false alarm'. ``pairs``: (index of truth, index of prediction, IoU).
    """

    truth: list[dict] = field(default_factory=list)
    found: list[dict] = field(default_factory=list)
    truth_state: list[str] = field(default_factory=list)
    found_state: list[str] = field(default_factory=list)
    pairs: list[tuple[int, int, float]] = field(default_factory=list)

    @property
    def quality(self) -> float | None:
        """Sum of the IoU of right pairs / (right + (false + missed) / 2); None if all is empty.

        The panoptic quality of one image (Kirillov et al., 2019); an object found as another
        class counts as missed and its prediction as false.
        """
        right = self.found_state.count('right')
        false = len(self.found_state) - right
        missed = self.truth_state.count('missed') + self.truth_state.count('confused')
        total = right + (false + missed) / 2
        if not total:
            return None
        return sum(v for _, j, v in self.pairs if self.found_state[j] == 'right') / total


def overlaps(found: list[dict], truth: list[dict], image: dict, kind: str) -> np.ndarray:
    """(predictions, objects) IoU; against a crowd, the share of the prediction inside it."""
    if not found or not truth:
        return np.zeros((len(found), len(truth)))
    if kind == 'segm':
        size = image['height'], image['width']
        shapes = [[rle(x['segmentation'], *size) for x in side] for side in (found, truth)]
    else:
        shapes = [np.array([x['bbox'] for x in side], float) for side in (found, truth)]
    crowd = [int(bool(t.get('iscrowd'))) for t in truth]
    return np.asarray(mask_utils.iou(shapes[0], shapes[1], crowd))


def match_image(
    truth: list[dict], found: list[dict], image: dict, kind: str, iou_thr: float = 0.5
) -> ImageMatch:
    """Match predictions and objects one to one if their IoU is at least ``iou_thr``.

    Pairs of the same class come first, then the rest, both by descending IoU. An unmatched
    prediction inside a crowd region is left out.
    """
    found = sorted(found, key=lambda r: -r['score'])
    overlap = overlaps(found, truth, image, kind)
    crowd = np.array([bool(t.get('iscrowd')) for t in truth], bool)
    same = np.array(
        [[f['category_id'] == t['category_id'] for t in truth] for f in found], bool
    ).reshape(overlap.shape)
    partner: dict[int, int] = {}
    taken: set[int] = set()
    pairs = []
    for allowed in (same, ~same):
        candidates = np.argwhere(allowed & (overlap >= iou_thr) & ~crowd)
        for j, i in sorted(candidates.tolist(), key=lambda ji: (-overlap[ji[0], ji[1]], ji)):
            if j not in partner and i not in taken:
                partner[j] = i
                taken.add(i)
                pairs.append((i, j, float(overlap[j, i])))
    keep = [
        j
        for j in range(len(found))
        if j in partner or not (overlap[j] * crowd).max(initial=0) >= iou_thr
    ]
    place = {j: n for n, j in enumerate(keep)}
    result = ImageMatch(truth, [found[j] for j in keep])
    result.pairs = [(i, place[j], v) for i, j, v in pairs]
    result.truth_state = ['crowd' if c else 'missed' for c in crowd]
    result.found_state = ['false alarm'] * len(keep)
    for i, j, _ in result.pairs:
        right = truth[i]['category_id'] == result.found[j]['category_id']
        result.truth_state[i] = 'found' if right else 'confused'
        result.found_state[j] = 'right' if right else 'confused'
    return result


def match_all(
    content: dict, results: list[dict], kind: str, names: list[str] | None, score_thr: float
) -> dict[int, ImageMatch]:
    """Image id -> match of the predictions with score >= ``score_thr``, for every image."""
    ids = set(category_ids(content, names))
    truth, found = defaultdict(list), defaultdict(list)
    for a in content['annotations']:
        if a['category_id'] in ids and (kind == 'bbox' or a.get('segmentation')):
            truth[a['image_id']].append(a)
    for r in results:
        if r['score'] >= score_thr and r['category_id'] in ids:
            found[r['image_id']].append(r)
    return {
        image['id']: match_image(truth[image['id']], found[image['id']], image, kind)
        for image in content['images']
    }


def confusion(
    content: dict, matches: dict[int, ImageMatch], names: list[str] | None
) -> tuple[list[str], np.ndarray]:
    """(class names and 'background', counts (K + 1, K + 1)): rows are truth, columns prediction."""
    ids = category_ids(content, names)
    row = {c: k for k, c in enumerate(ids)}
    table = np.zeros((len(ids) + 1, len(ids) + 1), int)
    for match in matches.values():
        for i, j, _ in match.pairs:
            table[row[match.truth[i]['category_id']], row[match.found[j]['category_id']]] += 1
        for item, state in zip(match.truth, match.truth_state, strict=True):
            if state == 'missed':
                table[row[item['category_id']], -1] += 1
        for item, state in zip(match.found, match.found_state, strict=True):
            if state == 'false alarm':
                table[-1, row[item['category_id']]] += 1
    named = {c['id']: c['name'] for c in content['categories']}
    return [*(named[i] for i in ids), 'background'], table
