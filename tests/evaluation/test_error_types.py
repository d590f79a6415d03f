"""Kinds of error and what fixing them gains: against a slow reference, and made by hand."""

import json

import numpy as np
import pytest

from selnext_mm.evaluation import coco_scores
from selnext_mm.evaluation.error_types import ERRORS, FALSE, UNFOUND, error_types, outcomes
from tests.evaluation.test_scores import CATEGORIES, found, scene
from tests.oracles import error_types as oracle
from tests.report.conftest import degrade


def analyse(content, results, kind='bbox'):
    run = coco_scores.run_coco_eval(content, results, kind, None)
    return error_types(outcomes(run)), run


def random_set(rng):
    """Truth and predictions in two images, many of them near each other."""
    scores = [0.2, 0.4, 0.4, 0.6, 0.8, 0.9]
    truth, predictions = [], []
    for image in (1, 2):
        for _ in range(rng.integers(0, 5)):
            box = [int(v) for v in (*rng.integers(0, 40, 2), *rng.integers(8, 30, 2))]
            truth.append((image, int(rng.choice([3, 7])), *box, bool(rng.random() < 0.15)))
            for _ in range(rng.integers(0, 4)):
                moved = [v + int(rng.integers(-7, 8)) for v in box]
                category, score = int(rng.choice([3, 7])), float(rng.choice(scores))
                predictions.append((image, category, *moved[:2], *map(abs, moved[2:]), score))
        if rng.random() < 0.5:
            predictions.append((image, 3, 80, 80, 9, 9, float(rng.choice(scores))))
    return truth, [p for p in predictions if p[4] and p[5]]


def as_coco(truth, predictions):
    size = {'width': 120, 'height': 120}
    return {
        'images': [{'id': i, 'file_name': f'{i}.jpg', **size} for i in (1, 2)],
        'categories': CATEGORIES[:2],
        'annotations': [
            dict(id=n, image_id=i, category_id=c, bbox=[x, y, w, h], area=w * h, iscrowd=int(crowd))
            for n, (i, c, x, y, w, h, crowd) in enumerate(truth, 1)
        ],
    }, [
        dict(image_id=i, category_id=c, bbox=[x, y, w, h], score=s)
        for i, c, x, y, w, h, s in predictions
    ]


def test_random_sets_are_as_the_slow_reference_says():
    rng = np.random.default_rng(0)
    seen = dict.fromkeys(ERRORS, 0)
    for _ in range(150):
        truth, predictions = random_set(rng)
        if not predictions:
            continue
        ours, run = analyse(*as_coco(truth, predictions))
        ap, counts, fixed = oracle.analyse(truth, predictions)
        assert ours.counts == counts
        assert ours.ap == (ap if ap is None else pytest.approx(ap))
        coco = coco_scores.scores_of(run)['AP50']
        assert ours.ap == (coco if coco is None else pytest.approx(coco))
        for name, value in fixed.items():
            gain = None if ap is None or value is None else pytest.approx(value - ap)
            assert ours.gains[name] == gain, name
        for name in ERRORS:
            seen[name] += counts[name]
    assert min(seen.values()) >= 20, seen


# What is predicted of one cat at (0, 0, 20, 20), and what it is called.
ONE = {
    'classification': [(7, 0, 0, 20, 20, 0.9)],
    'localisation': [(3, 0, 0, 20, 8, 0.9)],
    'both': [(7, 0, 0, 20, 8, 0.9), (3, 0, 0, 20, 20, 0.8)],
    'duplicate': [(3, 0, 0, 20, 20, 0.9), (3, 0, 0, 20, 19, 0.95)],
    'background': [(3, 50, 50, 20, 20, 0.9), (3, 0, 0, 20, 20, 0.8)],
}


@pytest.mark.parametrize('name', ONE)
def test_each_kind_is_told_from_the_others(name):
    ours, _ = analyse(scene([(3, 0, 0, 20, 20)]), found(*ONE[name]))
    assert ours.counts == {**dict.fromkeys(ERRORS, 0), name: 1}
    before = {'classification': 0, 'localisation': 0, 'both': 1, 'duplicate': 1, 'background': 0.5}
    assert ours.ap == pytest.approx(before[name])
    # All that was wrong is fixed.
    assert ours.gains[name] == pytest.approx(1 - before[name])
    assert all(gain == 0 for n, gain in ours.gains.items() if n in ERRORS and n != name)


def test_a_missed_object_stretches_the_curve():
    ours, _ = analyse(
        scene([(3, 0, 0, 20, 20), (3, 50, 50, 20, 20)]), found((3, 0, 0, 20, 20, 0.9))
    )
    assert ours.counts['missed'] == 1
    assert ours.ap == pytest.approx(51 / 101)
    assert ours.gains['missed'] == ours.gains[UNFOUND] == pytest.approx(50 / 101)


def test_an_object_that_an_error_was_meant_for_is_not_missed_and_is_found_once():
    content = scene([(3, 0, 0, 20, 20), (3, 60, 60, 20, 20)])
    cat, other = (0, 0, 20, 20), (60, 60, 9, 9)
    results = found((7, *cat, 0.9), (9, *cat, 0.8), (3, 0, 0, 20, 8, 0.7), (7, *other, 0.1))
    ours, run = analyse(content, results)
    assert (ours.counts['classification'], ours.counts['localisation']) == (2, 1)
    assert ours.counts['missed'] == ours.counts['both'] == 1
    # The better of the two is fixed, the other goes; the wrong place is still there.
    assert ours.gains['classification'] == pytest.approx(51 / 101)
    o = outcomes(run)
    assert o.target.tolist() == [0, 0, 0, -1]
    assert o.missed.tolist() == [False, True]
    assert o.own_iou.tolist() == pytest.approx([0, 0, 0.4, 0])


def test_what_lies_in_a_crowd_is_no_error():
    content = scene([(3, 0, 0, 20, 20), (3, 50, 50, 40, 40, True)])
    ours, _ = analyse(content, found((3, 0, 0, 20, 20, 0.4), (3, 55, 55, 20, 20, 0.9)))
    assert ours.ap == 1
    assert sum(ours.counts.values()) == 0


def test_without_an_object_there_is_no_gain():
    ours, _ = analyse(scene([]), found((3, 0, 0, 20, 20, 0.4)))
    assert ours.ap is None
    assert set(ours.gains.values()) == {None}
    assert ours.counts['background'] == 1
    nothing_right, _ = analyse(scene([(3, 0, 0, 20, 20)]), found((3, 50, 50, 20, 20, 0.4)))
    assert nothing_right.gains['missed'] is None
    assert nothing_right.gains[FALSE] == 0


def test_the_known_faults_of_a_set_are_told_by_masks(annotations):
    """As masks, whose objects do not lie over each other."""
    content = json.loads(annotations.read_text())
    results, faults = degrade(content)
    ours, run = analyse(content, results, 'segm')
    assert ours.counts['missed'] == faults['missed']
    assert ours.counts['classification'] == faults['confused']
    assert ours.counts['background'] == faults['false alarm']
    assert ours.ap == pytest.approx(coco_scores.scores_of(run)['AP50'])
    assert sum(sum(row.values()) for row in ours.per_class) == 3
