import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from selnext_mm.cli.panel import main
from selnext_mm.errors import UserError
from selnext_mm.visualization.draw import Instance, class_colours, draw_instances
from selnext_mm.visualization.panel import choose_images

CATEGORIES = [{'id': 3, 'name': 'disc'}, {'id': 9, 'name': 'cat \u00e9'}]


def rle(height, width, box):
    x, y, w, h = box
    mask = np.zeros((height, width), np.uint8, order='F')
    mask[y : y + h, x : x + w] = 1
    coded = mask_utils.encode(mask)
    return {'size': coded['size'], 'counts': coded['counts'].decode()}


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


def test_mask_is_tinted_inside_and_nowhere_else():
    image = np.full((100, 100, 3), 128, np.uint8)
    item = Instance(3, [40, 40, 40, 40], rle(100, 100, (40, 40, 40, 40)))
    colours = {3: (228, 28, 28)}
    tile = draw_instances(image, [item], {3: 'x'}, colours, height=200, alpha=0.5)
    assert tile.shape == (200, 200, 3)
    assert tile[120, 120].tolist() == [178, 78, 78]
    assert tile[20, 20].tolist() == [128, 128, 128]
    assert tile[180, 120].tolist() == [128, 128, 128]
    plain = draw_instances(image, [], {}, {}, height=200)
    assert (plain == 128).all()


def test_crowd_and_uncompressed_rle_are_drawn():
    image = np.zeros((10, 10, 3), np.uint8)
    crowd = {'size': [10, 10], 'counts': [0, 50, 50]}  # column by column: the left half
    item = Instance(3, [0, 0, 5, 10], crowd, crowd=True)
    tile = draw_instances(image, [item], {3: 'x'}, {3: (250, 0, 0)}, height=100, alpha=0.5)
    assert tile[60, 25].tolist() == [50, 0, 0]  # fainter than an object: 0.4 * 0.5 * 250
    assert tile[60, 80].tolist() == [0, 0, 0]


def test_chosen_images_spread_over_the_set():
    assert choose_images(list(range(100)), 4) == [12, 37, 62, 87]
    assert choose_images([5, 3], 8) == [3, 5]
    for seed in range(5):
        ids = choose_images(list(range(100)), 4, seed)
        assert [i // 25 for i in ids] == [0, 1, 2, 3]
    assert choose_images(list(range(100)), 4, 1) != choose_images(list(range(100)), 4, 2)


def test_eighty_classes_have_eighty_colours():
    colours = class_colours([{'id': i} for i in range(80)])
    assert len(set(colours.values())) == 80


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
        ({'results': 'ann.json'}, 'no list of predictions'),
        ({'out': 'ann.json/x.png'}, 'cannot write'),
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
