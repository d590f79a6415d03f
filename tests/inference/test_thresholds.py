"""Lowest scores per class: the file, what is shown, and the way from a report to a model's file."""

import json

import pytest

from selnext_mm.errors import UserError
from selnext_mm.inference.thresholds import (
    in_words,
    read_thresholds,
    rounded_down,
    shown,
    stored_thresholds,
)

CLASSES = ('ant', 'bee', 'cow')


def items(*pairs):
    return [dict(label=label, score=score) for label, score in pairs]


def test_each_class_has_its_own_lowest_score():
    found = items((0, 0.5), (1, 0.5), (0, 0.4), (1, 0.7))
    assert shown(found, 0.5) == items((0, 0.5), (1, 0.5), (1, 0.7))
    assert shown(found, (0.4, 0.6, 0.0)) == items((0, 0.5), (0, 0.4), (1, 0.7))
    assert in_words(0.3) == '0.3'
    words = 'the threshold of its class (0.40 to 0.61, from m.onnx)'
    assert in_words((0.4, 0.61), 'm.onnx') == words


def test_a_score_is_rounded_so_that_its_object_stays():
    assert rounded_down(0.77777) == 0.7777
    assert rounded_down(None) is None


def test_a_file_gives_scores_in_the_order_of_the_classes(tmp_path):
    path = tmp_path / 'best_f1.json'
    path.write_text(json.dumps(dict(thresholds=dict(cow=0.5, ant=1), F1={})))
    scores = read_thresholds(path, CLASSES)
    assert scores == [1.0, None, 0.5]
    assert stored_thresholds(json.dumps(scores)) == (1.0, 0.3, 0.5)
    assert stored_thresholds(None) is None


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'No such file'),
        ('{', 'not JSON'),
        ('[]', 'has no "thresholds" of classes; "selnext-mm report'),
        ('{"thresholds": {"bea": 0.5}}', 'bea is not a class of the model; did you mean bee'),
        ('{"thresholds": {"bee": 1.5}}', 'bee has 1.5; expected 0 to 1'),
        ('{"thresholds": {"bee": true}}', 'bee has True; expected 0 to 1'),
        ('{"thresholds": {"bee": NaN}}', 'bee has nan; expected 0 to 1'),
        ('{"thresholds": {"bee": null}}', 'has no score for any class'),
    ],
)
def test_other_files_are_told(text, message, tmp_path):
    path = tmp_path / 'f.json'
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_thresholds(path, CLASSES)
