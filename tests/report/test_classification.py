"""The part about classifiers: confused pairs, doubted labels, two runs by image."""

import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from selnext_mm.errors import UserError
from selnext_mm.evaluation.class_predictions import (
    ClassPredictions,
    confused_pairs,
    doubted,
    read_class_results,
)
from selnext_mm.report import page
from selnext_mm.report.classification import compare, sign_test
from selnext_mm.report.page import build_report

CLASSES = ('ape', 'cat', 'dog')
# (label, scores) of six images.
ROWS = [
    (0, (0.9, 0.06, 0.04)),
    (1, (0.2, 0.5, 0.3)),
    (1, (0.1, 0.2, 0.7)),
    (1, (0.02, 0.03, 0.95)),
    (2, (0.6, 0.1, 0.3)),
    (2, (0.1, 0.1, 0.8)),
]


def write(folder, rows=ROWS):
    """What a test with ``--out results.json`` leaves, and the images."""
    folder.mkdir(parents=True, exist_ok=True)
    metric = ClassPredictions(folder / 'results.classes.json')
    metric.dataset_meta = {'classes': CLASSES}
    for n, (label, scores) in enumerate(rows):
        file = folder.parent / f'{n}.png'
        Image.new('RGB', (20, 10), (40 * n, 0, 0)).save(file)
        sample = dict(gt_label=torch.tensor([label]), pred_score=torch.tensor(scores))
        metric.process({}, [dict(sample, img_path=str(file))])
    assert metric.evaluate(len(rows)) == {}
    return folder / 'results.classes.json'


def test_what_was_written_is_read_and_counted(tmp_path):
    results = read_class_results(write(tmp_path / 'a'))
    assert results.classes == list(CLASSES)
    assert results.confusion().tolist() == [[1, 0, 0], [0, 1, 2], [1, 0, 1]]
    assert results.score.tolist() == pytest.approx([max(s) for _, s in ROWS])
    assert results.label_score.tolist() == pytest.approx([s[k] for k, s in ROWS])
    pairs = [(a, b, images.tolist()) for a, b, images in confused_pairs(results, 9)]
    assert pairs == [(1, 2, [3, 2]), (2, 0, [4])]
    assert len(confused_pairs(results, 1)) == 1
    assert doubted(results, 2).tolist() == [3, 2]


def test_images_with_several_labels_are_not_written(tmp_path):
    metric = ClassPredictions(tmp_path / 'x.classes.json')
    both = dict(gt_label=torch.tensor([0, 2]), pred_score=torch.tensor([0.9, 0.1, 0.8]))
    metric.process({}, [both])
    assert metric.evaluate(1) == {}
    assert not metric.out_file.exists()


@pytest.mark.parametrize('text', ['{', '[]', '{"classes": [], "images": [{"label": 1}]}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / 'x.classes.json'
    path.write_text(text)
    with pytest.raises(UserError, match=r'x\.classes\.json: not the predictions of a classifier'):
        read_class_results(path)


def test_two_runs_are_compared_by_image(tmp_path):
    first = read_class_results(write(tmp_path / 'a'))
    rows = [*ROWS]
    rows[0], rows[3] = (0, (0.3, 0.6, 0.1)), (1, (0.1, 0.8, 0.1))
    better, worse = compare(first, read_class_results(write(tmp_path / 'b', rows)))
    assert (better.tolist(), worse.tolist()) == ([3], [0])
    assert compare(first, read_class_results(write(tmp_path / 'c', rows[:4]))) is None


@pytest.mark.parametrize(('better', 'worse'), [(0, 0), (1, 0), (9, 2), (5, 5), (3, 20)])
def test_the_sign_test_is_that_of_scipy(better, worse):
    total = better + worse
    expected = binomtest(better, total).pvalue if total else 1.0
    assert sign_test(better, worse) == pytest.approx(expected)


def test_the_page_shows_pairs_labels_and_the_comparison(tmp_path, monkeypatch):
    config = "default_scope = 'mmpretrain'\nmodel = dict(type='ImageClassifier')\n"
    rows = [*ROWS]
    rows[3] = (1, (0.1, 0.8, 0.1))
    for name, of in (('a', ROWS), ('b', rows)):
        write(tmp_path / name, of)
        (tmp_path / name / 'config.py').write_text(config)
    kept = {}
    monkeypatch.setattr(page, 'as_json', lambda value: kept.update(value) or '{}')
    found = build_report([tmp_path / 'a', tmp_path / 'b'], tmp_path / 'a.html')
    assert not any('predictions' in note or 'pictures' in note for _, note in found['notes'])
    charts = {c['id']: c for c in kept['charts']}
    assert charts['class-confusion-1']['data'][0]['customdata'][1] == [0, 1, 2]
    line = charts['class-calibration']['data'][1]
    assert sum(line['customdata']) == len(ROWS)
    text = (tmp_path / 'a.html').read_text()
    assert 'cat taken for dog: 2 of 3 (67%)' in text
    assert 'predicted dog 0.95, labelled cat' in text
    assert 'dog, now cat 0.80, labelled cat' in text
    assert 'Images that only b gets right: 1, only a: 0 (p = 1, exact sign test)' in text
    # a: three of pairs and three doubted labels; b: one less of each; one that got better.
    assert text.count('<img src="data:image/jpeg') == 6 + 4 + 1
    (tmp_path / '3.png').unlink()
    found = build_report([tmp_path / 'a'], tmp_path / 'a.html')
    assert [n for _, n in found['notes'] if 'not found' in n] == [
        '2 images were not found or cannot be read'
    ]


def test_annotations_and_images_of_a_classifier_are_not_taken_in_silence(tmp_path):
    write(tmp_path / 'a', ROWS)
    (tmp_path / 'a' / 'config.py').write_text("default_scope = 'mmpretrain'\n")
    with pytest.raises(UserError, match='--ann and --images would change nothing'):
        build_report([tmp_path / 'a'], tmp_path / 'a.html', annotations='a.json', images='b')
    assert not (tmp_path / 'a.html').exists()
