"""The part about errors: its tables, charts and the images of doubted labels."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from selnext_mm.evaluation import coco_scores
from selnext_mm.evaluation.error_types import outcomes
from selnext_mm.report import errors, page
from selnext_mm.report.page import build_report
from tests.report.conftest import degrade, make_run


@pytest.fixture
def judged(annotations):
    content = json.loads(annotations.read_text())
    results, _ = degrade(content)
    run = coco_scores.run_coco_eval(content, results, 'segm', None)
    return content, outcomes(run)


def test_the_table_counts_the_known_faults(judged):
    _, o = judged
    part = errors.error_part({'a': o}, 'x', 0.3)
    rows = {row[0]: row[1:] for row in part['table']['rows']}
    assert [rows[k][0] for k in ('classification', 'background', 'missed')] == [1, 1, 1]
    # The false alarm and the wrong class; the object of another class and the missed one.
    assert (rows['all false positives'][0], rows['all false negatives'][0]) == (2, 2)
    gains = part['charts'][0]['data'][0]
    assert dict(zip(gains['y'], gains['x'], strict=True))['missed'] == rows['missed'][1] > 0
    (table,) = part['by_class']
    assert sum(sum(row[1:]) for row in table['rows']) == 3


def test_the_calibration_leaves_out_low_scores(judged):
    _, o = judged
    claimed, line = errors.error_part({'a': o}, 'x', 0.85)['charts'][1]['data']
    assert claimed['x'] == claimed['y'] == [0, 1]
    # All but the false alarm of 0.8 have a score of 0.9.
    assert (line['x'], sum(line['customdata'])) == ([0.9], len(o.predictions) - 1)
    both = errors.error_part({'a': o}, 'x', 0.3)['charts'][1]['data'][1]
    assert (both['x'], both['y'][0]) == ([0.8, 0.9], 0)


def test_a_doubted_label_is_shown_where_it_is(judged, shapes_root):
    content, o = judged
    cards, unread = errors.doubted_labels(content, shapes_root / 'val2017', o, 9, 0.5)
    assert unread == []
    assert sorted('no label' in c['words'] for c in cards) == [False, True]
    other = next(c for c in cards if 'labelled' in c['words'])
    picture = Image.open(io.BytesIO(base64.b64decode(other['src'].split(',')[1])))
    assert picture.size == tuple(other['size'])
    # Prediction and label are one box, inside the image.
    first, second = other['boxes']
    assert first == second
    x, y, w, h = first
    assert min(x, y) >= 0
    assert x + w <= picture.width + 1
    assert y + h <= picture.height + 1
    # It is the part of the image that the label shows.
    record = next(i for i in content['images'] if i['file_name'] == other['file'])
    whole = Image.open(shapes_root / 'val2017' / record['file_name']).convert('RGB')
    left, top, wide, high = map(float, other['at'].split(', '))
    truth = np.asarray(whole.crop((left, top, left + wide, top + high)).resize((16, 16)), float)
    shown = np.asarray(picture.crop((x, y, x + w, y + h)).resize((16, 16)), float)
    assert np.abs(truth - shown).mean() < 20


def test_without_pictures_labels_are_doubted_in_words(judged, tmp_path):
    content, o = judged
    cards, _ = errors.doubted_labels(content, None, o, 1, 0.5)
    assert [c['src'] for c in cards] == [None]
    cards, unread = errors.doubted_labels(content, tmp_path, o, 9, 0.5)
    assert len(cards) == len(unread) == 2


def test_the_page_has_the_errors_of_every_run(tmp_path, shapes_root, annotations, monkeypatch):
    results, _ = degrade(json.loads(annotations.read_text()))
    runs = [make_run(tmp_path / n, shapes_root, results[:k]) for n, k in (('a', None), ('b', -1))]
    kept = {}
    monkeypatch.setattr(page, 'as_json', lambda value: kept.update(value) or '{}')
    build_report(runs, tmp_path / 'a.html')
    charts = {c['id']: c for c in kept['charts']}
    for kind in ('bbox', 'segm'):
        assert [d['name'] for d in charts[f'errors-{kind}-1']['data']] == ['a', 'b']
        assert len(charts[f'calibration-{kind}-1']['data']) == 3
    text = (tmp_path / 'a.html').read_text()
    assert text.count('Labels most likely wrong, by') == 2
    assert text.count('class="prediction"') == 3


def test_the_ap_of_each_class_is_one_chart_with_a_choice(tmp_path, shapes_root, monkeypatch):
    runs = [make_run(tmp_path / name, shapes_root, None) for name in 'ab']
    for run in runs:
        path = next(run.glob('*/vis_data/scalars.json'))
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if 'iter' not in row:
                ap = {'coco/ring_precision': row['step'] / 10, 'coco/none_precision': float('nan')}
                row.update({**ap, 'coco/red star_precision': 0.5})
        path.write_text('\n'.join(map(json.dumps, rows)))
    kept = {}
    monkeypatch.setattr(page, 'as_json', lambda value: kept.update(value) or '{}')

    def draw(*folders):
        build_report(folders, tmp_path / 'a.html')
        charts = [c for c in kept['charts'] if c['title'].startswith('AP of each class')]
        assert not any('precision' in c['title'] for c in kept['charts'])
        return charts[0]['options'], charts[0]['data']

    options, data = draw(runs[0])
    assert [o['label'] for o in options] == ['all classes', 'ring', 'red star']
    assert [(d['name'], d['x'], d['y']) for d in data] == [
        ('ring', [1, 2], [0.1, 0.2]),
        ('red star', [1, 2], [0.5, 0.5]),
    ]
    options, data = draw(*runs)
    assert [(o['label'], o['traces']) for o in options] == [('ring', [0, 1]), ('red star', [2, 3])]
    assert [d['visible'] for d in data] == [True, True, False, False]
