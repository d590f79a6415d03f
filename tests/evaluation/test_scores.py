"""AP, curves and matching of a report, against pycocotools' own summary and hand-made cases."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from selnext_mm.evaluation import coco_scores, matching
from selnext_mm.report import gallery
from tests.report.conftest import degrade

CATEGORIES = [{'id': 3, 'name': 'cat'}, {'id': 7, 'name': 'dog'}, {'id': 9, 'name': 'owl'}]


def scene(boxes, size=100):
    """One image; ``boxes`` of (category, x, y, w, h[, crowd])."""
    annotations = [
        {'id': n, 'image_id': 1, 'category_id': c, 'bbox': [x, y, w, h], 'area': w * h,
         'iscrowd': int(bool(rest))}
        for n, (c, x, y, w, h, *rest) in enumerate(boxes, 1)
    ]  # fmt: skip
    image = {'id': 1, 'width': size, 'height': size, 'file_name': 'a.jpg'}
    return {'images': [image], 'annotations': annotations, 'categories': CATEGORIES}


def found(*boxes):
    return [
        {'image_id': 1, 'category_id': c, 'bbox': [x, y, w, h], 'score': s}
        for c, x, y, w, h, s in boxes
    ]


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_the_numbers_are_those_of_pycocotools_summary(annotations, kind):
    content = json.loads(annotations.read_text())
    results, _ = degrade(content)
    rng = np.random.default_rng(0)
    for r in results:
        r['score'] = float(rng.uniform(0.1, 1))
        r['bbox'] = [float(v + rng.uniform(-4, 4)) for v in r['bbox'][:2]] + r['bbox'][2:]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        given_ = [dict(r) for r in results]
        # As MMDetection's metric does: the area of a mask is not that of its box.
        other = 'segmentation' if kind == 'bbox' else 'bbox'
        given_ = [{k: v for k, v in r.items() if k != other} for r in given_]
        for r in given_ if kind == 'segm' else []:
            if isinstance(r['segmentation'], list):  # pycocotools takes results as RLE only
                image = truth.imgs[r['image_id']]
                codes = mask_utils.frPyObjects(r['segmentation'], image['height'], image['width'])
                r['segmentation'] = mask_utils.merge(codes)
        run = COCOeval(truth, truth.loadRes(given_), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    names = ('AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large')
    stats = dict(zip(names, run.stats[:6], strict=True))
    ours = coco_scores.evaluate(content, results, kind, None)
    assert 0 < ours.summary['AP'] < 1
    for name, value in stats.items():
        assert (ours.summary[name] is None) == (value == -1)
        assert value == -1 or ours.summary[name] == pytest.approx(value, abs=1e-12)
    assert ours.summary['AR'] == pytest.approx(run.stats[8])
    values = [p['AP'] for p, n in zip(ours.per_class, ours.counts, strict=True) if n]
    assert np.mean(values) == pytest.approx(run.stats[0])


@settings(max_examples=30)
@given(st.data())
def test_the_best_f1_is_that_of_trying_every_threshold(data):
    """Boxes far apart: each is a hit, or none."""
    objects = data.draw(st.integers(1, 6))
    # (place, score in tenths): a place beyond the objects is a false alarm.
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), unique_by=lambda p: p[0])
    )
    content = scene([(3, 10 * i, 0, 8, 8) for i in range(objects)])
    results = found(*[(3, 10 * place, 0, 8, 8, score / 10) for place, score in pairs])
    if not results:
        results = found((7, 0, 0, 8, 8, 0.5))
    scores = coco_scores.evaluate(content, results, 'bbox', None).per_class
    if not pairs:
        assert (scores[0]['F1'], scores[0]['best score']) == (None, None)
        return
    tried = {}
    for threshold in {score for _, score in pairs}:
        kept = [place for place, score in pairs if score >= threshold]
        hits = sum(place < objects for place in kept)
        tried[threshold] = 2 * hits / (len(kept) + objects)
    assert scores[0]['F1'] == pytest.approx(max(tried.values()))
    best = max(t for t, value in tried.items() if value == max(tried.values()))
    assert scores[0]['best score'] == pytest.approx(best / 10)
    assert scores[1]['F1'] is None, 'there is no dog'


def test_crowds_are_no_part_of_f1():
    content = scene([(3, 0, 0, 20, 20), (3, 50, 50, 40, 40, True)])
    results = found((3, 0, 0, 20, 20, 0.4), (3, 55, 55, 20, 20, 0.9))
    (best, *_) = coco_scores.evaluate(content, results, 'bbox', None).per_class
    assert (best['F1'], best['best score']) == (1.0, pytest.approx(0.4))


def test_a_half_found_class_has_a_step_in_its_curve():
    content = scene([(3, 0, 0, 20, 20), (3, 50, 50, 20, 20)])
    scores = coco_scores.evaluate(content, found((3, 0, 0, 20, 20, 0.9)), 'bbox', None)
    # COCO's curve: precision 1 up to recall 0.5 (places 0..50), then 0.
    assert scores.precision[0, :, 0] == pytest.approx([1.0] * 51 + [0.0] * 50)
    assert scores.per_class[0]['AP'] == pytest.approx(51 / 101)
    assert scores.per_class[1]['AP'] is None
    assert scores.counts == [2, 0, 0]


def test_classes_that_the_model_does_not_know_do_not_count():
    content = scene([(3, 0, 0, 20, 20), (7, 50, 50, 20, 20)])
    results = found((3, 0, 0, 20, 20, 0.9))
    assert coco_scores.evaluate(content, results, 'bbox', None).summary['AP'] == pytest.approx(0.5)
    assert coco_scores.evaluate(content, results, 'bbox', ['cat']).summary['AP'] == pytest.approx(1)


def test_annotations_without_area_and_crowd_are_completed_not_changed():
    content = scene([(3, 0, 0, 20, 20)])
    for key in ('area', 'iscrowd', 'id'):
        del content['annotations'][0][key]
    assert coco_scores.complete(content)['annotations'][0]['area'] == 400
    assert set(content['annotations'][0]) == {'image_id', 'category_id', 'bbox'}
    assert coco_scores.size_counts(content, None) == [1, 0, 0]


def match(content, results):
    image = content['images'][0]
    return matching.match_image(content['annotations'], results, image, 'bbox')


def test_every_kind_of_error_is_named():
    content = scene([(3, 0, 0, 20, 20), (7, 30, 0, 20, 20), (9, 60, 0, 20, 20)])
    results = found((3, 0, 0, 20, 20, 0.9), (3, 30, 0, 20, 20, 0.8), (9, 0, 70, 20, 20, 0.7))
    m = match(content, results)
    assert m.truth_state == ['found', 'confused', 'missed']
    assert m.found_state == ['right', 'confused', 'false alarm']
    # One right of IoU 1; two objects and two predictions without a right partner.
    assert m.quality == pytest.approx(1 / (1 + (2 + 2) / 2))
    names, table = matching.confusion(content, {1: m}, None)
    assert names == ['cat', 'dog', 'owl', 'background']
    assert table.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]


def test_the_right_class_goes_before_a_larger_overlap():
    content = scene([(3, 0, 0, 20, 20)])
    m = match(content, found((7, 0, 0, 20, 20, 0.9), (3, 0, 0, 20, 18, 0.2)))
    assert m.truth_state == ['found']
    assert [r['category_id'] for r in m.found] == [7, 3]
    assert m.found_state == ['false alarm', 'right']


def test_a_prediction_in_a_crowd_is_left_out():
    content = scene([(3, 0, 0, 80, 80, True)])
    m = match(content, found((3, 10, 10, 20, 20, 0.9), (3, 85, 85, 10, 10, 0.9)))
    assert (m.truth_state, m.found_state) == (['crowd'], ['false alarm'])


def test_an_empty_image_has_no_quality():
    assert match(scene([]), []).quality is None
    assert match(scene([]), found((3, 0, 0, 9, 9, 0.5))).quality == 0


boxes = st.tuples(st.sampled_from([3, 7]), *[st.integers(0, 60)] * 2, *[st.integers(5, 40)] * 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6))
def test_matches_are_one_to_one_and_nothing_is_lost(truth, predicted):
    content = scene(truth)
    results = found(*[(*b, 0.5) for b in predicted])
    m = match(content, results)
    assert len({i for i, _, _ in m.pairs}) == len({j for _, j, _ in m.pairs}) == len(m.pairs)
    assert all(v >= 0.5 for _, _, v in m.pairs)
    assert m.quality is None or 0 <= m.quality <= 1
    _, table = matching.confusion(content, {1: m}, None)
    assert table[:-1].sum() == len(truth)
    assert table[:, :-1].sum() == len(predicted)


def test_the_known_faults_of_a_set_are_counted(annotations):
    content = json.loads(annotations.read_text())
    results, faults = degrade(content)
    matches = matching.match_all(content, results, 'segm', None, 0.3)
    states = [s for m in matches.values() for s in m.found_state]
    assert states.count('right') == faults['right']
    assert states.count('confused') == faults['confused']
    assert states.count('false alarm') == faults['false alarm']
    missed = [s for m in matches.values() for s in m.truth_state].count('missed')
    assert missed == faults['missed']


def test_images_are_chosen_by_their_quality():
    def quality(right, missed):
        content = scene([(3, 25 * n, 0, 20, 20) for n in range(right + missed)], 200)
        return match(content, found(*[(3, 25 * n, 0, 20, 20, 0.9) for n in range(right)]))

    first = {n: quality(right, 4 - right) for n, right in enumerate((4, 1, 3, 2, 4))}
    second = {**first, 2: quality(0, 4)}
    chosen = gallery.choose([first], 2)
    assert [(i, g) for i, g, _ in chosen] == [
        (1, ['worst']),
        (3, ['worst']),
        (0, ['best']),
        (4, ['best']),
    ]
    both = gallery.choose([first, second], 1)
    assert [i for i, g, _ in both if 'differ' in g] == [2]


def test_an_outline_has_the_area_of_its_mask():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 20:70] = 1
    mask[20:30, 30:50] = 0  # a hole
    code = mask_utils.encode(np.asfortranarray(mask))
    path = gallery.outline(code, mask.shape, 2.0)
    area = 0.0
    for part in path.strip('Z').split('Z'):
        points = np.array([[float(v) for v in p.split()] for p in part[1:].split('L')])
        x, y = points.T
        area += (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    # Contours run through the centres of the border pixels: half a pixel less on every side.
    assert abs(area) / 4 == pytest.approx(mask.sum(), rel=0.15)
    assert path.count('M') == 2
