"""Labels that were made wrong are found by predictions of the right ones."""

import copy
import json

import numpy as np
import pytest

from selnext_mm.evaluation import coco_scores
from selnext_mm.evaluation.error_types import outcomes
from selnext_mm.evaluation.label_errors import suspects
from tests.evaluation.test_error_types import as_coco, random_set
from tests.evaluation.test_scores import found, scene
from tests.oracles import label_errors as oracle


def look(content, results, num=9, least=0.5):
    return suspects(outcomes(coco_scores.run_coco_eval(content, results, 'bbox', None)), num, least)


def test_each_mistake_of_a_label_is_named():
    content = scene([(7, 0, 0, 20, 20), (3, 40, 0, 20, 20), (9, 0, 70, 20, 20)])
    results = found(
        *[(3, 0, 0, 20, 20, 0.9), (3, 40, 0, 20, 8, 0.8), (3, 70, 70, 20, 20, 0.95)],
        *[(9, 0, 70, 20, 20, 0.99), (7, 80, 0, 9, 9, 0.4)],
    )
    rows = [
        (s.kind, s.label and s.label['category_id'], s.suspicion) for s in look(content, results)
    ]
    assert rows == [
        ('no label', None, pytest.approx(0.95)),
        ('another class', 7, pytest.approx(0.9)),
        ('another place', 3, pytest.approx(0.8 * 0.6)),
    ]
    assert [s.kind for s in look(content, results, num=1)] == ['no label']
    assert [s.kind for s in look(content, results, least=0.9)] == ['no label', 'another class']
    assert len(look(content, results, least=0.4)) == 4


def test_random_sets_are_as_the_slow_reference_says():
    rng = np.random.default_rng(3)
    seen = {'no label': 0, 'another class': 0, 'another place': 0}
    left_out = 0
    for _ in range(150):
        truth, predictions = random_set(rng)
        # Scores without ties: the order of equal suspicions is not what this is about.
        predictions = [(*p[:6], float(rng.uniform(0.2, 1))) for p in predictions]
        if not predictions:
            continue
        content, results = as_coco(truth, predictions)
        least = float(rng.choice([0.3, 0.5]))
        expected = oracle.suspects(truth, predictions, least)
        listed = look(content, results, num=99, least=least)
        assert [(s.kind, s.label and s.label['id'] - 1) for s in listed] == [
            (kind, label) for _, kind, _, label in expected
        ]
        assert [s.suspicion for s in listed] == pytest.approx([row[0] for row in expected])
        for suspect, (_, kind, number, _) in zip(listed, expected, strict=True):
            given = results[number]
            assert (suspect.prediction['bbox'], suspect.prediction['score']) == (
                given['bbox'],
                given['score'],
            )
            seen[kind] += 1
        assert look(content, results, num=2, least=least) == listed[:2]
        left_out += sum(r['score'] >= least for r in results) - len(listed)
    assert min(*seen.values(), left_out) >= 20, (seen, left_out)


def test_a_label_that_another_prediction_agrees_with_is_less_suspicious():
    content = scene([(3, 0, 0, 20, 20)])
    (one,) = look(content, found((3, 0, 0, 20, 20, 0.6), (7, 0, 0, 20, 20, 0.9)))
    assert (one.kind, one.suspicion) == ('another class', pytest.approx(0.9 * 0.4))


def test_a_place_is_listed_once_and_a_second_box_of_one_object_never():
    content = scene([(3, 0, 0, 20, 20)])
    twice = found((3, 50, 50, 20, 20, 0.9), (7, 51, 50, 20, 20, 0.8))
    assert [s.prediction['category_id'] for s in look(content, twice)] == [3]
    assert look(content, found((3, 0, 0, 20, 20, 0.9), (3, 0, 0, 20, 19, 0.8))) == []


def test_labels_of_a_set_that_were_made_wrong_are_the_first(annotations):
    truth = json.loads(annotations.read_text())
    results = [
        {**{k: a[k] for k in ('image_id', 'category_id', 'bbox')}, 'score': 0.9}
        for a in copy.deepcopy(truth['annotations'])
    ]
    assert look(truth, results) == []
    gone, changed = truth['annotations'].pop(0), truth['annotations'][7]
    others = [c['id'] for c in truth['categories'] if c['id'] != changed['category_id']]
    changed['category_id'] = others[0]
    listed = look(truth, results, least=0.3)
    assert {s.kind for s in listed} == {'no label', 'another class'}
    (nothing,) = (s for s in listed if s.kind == 'no label')
    assert nothing.prediction['bbox'] == gone['bbox']
    (other,) = (s for s in listed if s.kind == 'another class')
    assert other.label['bbox'] == changed['bbox']
