import json

import cv2
import numpy as np
import pytest

from selnext_mm.cli.panel import main
from selnext_mm.errors import UserError
from selnext_mm.visualization.draw import class_colours
from tests.visualization.test_draw import rle

CATEGORIES = [{'id': 3, 'name': 'disc'}, {'id': 9, 'name': 'cat \u00e9'}]


@pytest.fixture
def paths(tmp_path):
    """Three grey images of different sizes, one object each, all of them found."""
    images, annotations, results = [], [], []
    for i, (h, w) in enumerate([(60, 80), (90, 50), (40, 200)], start=1):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((h, w, 3), 128, np.uint8))
        images.append({'id': i, 'file_name': f'{i}.png', 'height': h, 'width': w})
        x, y, bw, bh = box = (10, 10, 20, 20)
        polygon = [x, y, x + bw, y, x + bw, y + bh, x, y + bh]
        common = {'image_id': i, 'category_id': 3, 'bbox': list(box)}
        annotations.append({**common, 'id': i, 'iscrowd': 0, 'segmentation': [polygon]})
        results.append({**common, 'score': 0.3 * i, 'segmentation': rle(h, w, box)})
    content = {'images': images, 'annotations': annotations, 'categories': CATEGORIES}
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    (tmp_path / 'run.segm.json').write_text(json.dumps(results))
    return tmp_path


def run(paths, *extra, **changed):
    named = {'ann': 'ann.json', 'images': '.', 'results': 'run.segm.json', 'out': 'out.png'}
    args = [v for k, n in {**named, **changed}.items() for v in (f'--{k}', str(paths / n))]
    return main([*args, *extra])


def test_counts_and_picture(paths, capsys):
    assert run(paths) == 0
    out = capsys.readouterr().out
    sheet = cv2.imread(str(paths / 'out.png'))
    assert f'({sheet.shape[1]} x {sheet.shape[0]} pixels)' in out
    assert '3 of 3 images, 3 objects, 3 predictions with score >= 0.3' in out
    r, g, b = class_colours(CATEGORIES)[3]
    assert (sheet == (b, g, r)).all(axis=-1).sum() > 500  # contours, labels and the legend


def test_score_threshold_and_prefix(paths, capsys):
    assert run(paths, '--score-thr', '0.5', results='run') == 0
    assert '2 predictions with score >= 0.5' in capsys.readouterr().out


def test_same_call_gives_the_same_picture(paths):
    run(paths, '--seed', '3', out='a.png')
    run(paths, '--seed', '3', out='b.png')
    assert (paths / 'a.png').read_bytes() == (paths / 'b.png').read_bytes()


def test_columns_set_the_pairs_in_a_row(paths):
    shapes = {}
    for columns in ('1', '3'):
        run(paths, '--columns', columns)
        shapes[columns] = cv2.imread(str(paths / 'out.png')).shape
    assert shapes['1'][0] > 2 * shapes['3'][0]
    assert shapes['3'][1] > 2 * shapes['1'][1]


def test_boxes_alone_can_be_drawn(paths, capsys):
    results = json.loads((paths / 'run.segm.json').read_text())
    boxes = [{k: v for k, v in r.items() if k != 'segmentation'} for r in results]
    (paths / 'box.bbox.json').write_text(json.dumps(boxes))
    assert run(paths, results='box') == 0
    assert '3 predictions' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--num', '0'], '--num 0; expected 1 or more'),
        (['--columns', '0'], '--columns 0'),
        (['--score-thr', '1.5'], '--score-thr 1.5; expected a number from 0 to 1'),
        (['--seed', '-2'], '--seed -2'),
    ],
)
def test_bad_value_is_named(paths, extra, message):
    with pytest.raises(UserError, match=message):
        run(paths, *extra)
    assert not (paths / 'out.png').exists()


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'ann': 'none.json'}, r'the annotation file .*none\.json does not exist'),
        ({'results': 'none'}, r'cannot read the results .*none: No such file'),
        ({'images': 'none'}, 'is not a folder'),
        ({'out': 'out.jpg'}, r'ends in \.png'),
        ({'ann': '1.png'}, 'not JSON|not a text'),
        ({'ann': 'run.segm.json'}, 'is no COCO file: it holds a list'),
        ({'results': 'ann.json'}, 'not a list of predictions'),
        ({'out': 'ann.json/x.png'}, 'could not be written'),
    ],
)
def test_unusable_input_is_named(paths, changed, message):
    with pytest.raises(UserError, match=message):
        run(paths, **changed)


@pytest.mark.parametrize(
    ('results', 'message'),
    [
        ([], 'predicted nothing'),
        ([{'image_id': 1}], 'lacks category_id, bbox, score'),
        ([{'image_id': 7, 'category_id': 3, 'bbox': [0, 0, 1, 1], 'score': 1}], 'image_id 7'),
        ([{'image_id': 1, 'category_id': 4, 'bbox': [0, 0, 1, 1], 'score': 1}], 'category_id 4'),
    ],
)
def test_unusable_results_are_named(paths, results, message):
    (paths / 'bad.json').write_text(json.dumps(results))
    with pytest.raises(UserError, match=message):
        run(paths, results='bad.json')


def test_image_that_is_missing_damaged_or_of_another_size_is_named(paths):
    cv2.imwrite(str(paths / '2.png'), np.zeros((30, 50, 3), np.uint8))
    with pytest.raises(UserError, match=r'2\.png is 50 x 30 pixels.*50 x 90'):
        run(paths)
    (paths / '2.png').write_text('no image')
    with pytest.raises(UserError, match=r'2\.png: not an image'):
        run(paths)
    (paths / '2.png').unlink()
    with pytest.raises(UserError, match=r'2\.png: No such file'):
        run(paths)
    assert not (paths / 'out.png').exists()
