"""benchmarks/slices.py: the images are what their labels say, and the test runs on them."""

import json

import numpy as np
import pytest
import slices
from PIL import Image
from pycocotools import mask as mask_utils

from selnext_mm.__main__ import call
from selnext_mm.datasets.shape_scene import draw_scene
from selnext_mm.errors import UserError
from tests.export.small_detectors import save_detector

pytest.importorskip('mmdet')
SMALL = ['--images', '1', '--width', '700', '--height', '500', '--scenes', '3']


def test_shapes_are_where_their_labels_say(tmp_path):
    args = slices.build_parser().parse_args(['a', 'b', *SMALL])
    objects = slices.write_images(args, tmp_path / 'd')
    content = json.loads((tmp_path / 'd/annotations/instances_val2017.json').read_text())
    image = np.asarray(Image.open(tmp_path / 'd/val2017/0.png'))
    assert image.shape == (500, 700, 3)
    assert objects == len(content['annotations']) > 6
    covered = np.zeros(image.shape[:2], bool)
    for one in content['annotations']:
        mask = mask_utils.decode(one['segmentation']).astype(bool)
        assert mask.shape == image.shape[:2]
        assert mask.sum() == one['area']
        assert mask_utils.toBbox(one['segmentation']).tolist() == one['bbox']
        assert not (covered & mask).any()
        covered |= mask
    assert covered.any()
    assert (image[covered] != slices.GREY).any(1).mean() > 0.95
    # The first scene has the size of the training images, the second half of it.
    first = draw_scene(0, 'val', 0, 224)
    areas = [a['area'] for a in content['annotations'][: len(first.masks)]]
    assert areas == first.masks.sum((1, 2)).tolist()


def test_too_many_scenes_are_refused():
    args = slices.build_parser().parse_args(['a', 'b', *SMALL[:-1], '7'])
    with pytest.raises(UserError, match='--scenes 7: there is room for 6'):
        slices.compose(np.random.default_rng(0), args, 0)


@pytest.mark.slow
@pytest.mark.integration
def test_the_table_has_a_row_for_every_size(tmp_path, capsys):
    saved = save_detector(tmp_path, 'mask_rcnn')
    capsys.readouterr()
    line = [str(saved.config), str(saved.checkpoint), *SMALL, '--slice', '256']
    assert call(slices.main, [*line, '--json', str(tmp_path / 's.json')]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('1 image of 700x500 with ')
    assert [line.split()[1] for line in lines[1:]] == ['slice', '---', 'none', '256']
    rows = json.loads((tmp_path / 's.json').read_text())['rows']
    assert [row['slice'] for row in rows] == [None, 256]
    assert all(set(row['bbox']) == {'AP', 'APs', 'APm', 'APl'} for row in rows)
    assert all(row['mb'] > 100 and row['seconds'] > 0 for row in rows)


@pytest.mark.parametrize(
    ('line', 'text'),
    [
        (['nope.py', 'nope.pth'], 'there is no nope.py'),
        (['cls/selnext_t_in1k.py', 'nope.pth'], 'nope.pth: no such checkpoint'),
        (['cls/selnext_t_in1k.py', __file__, '--slice', '10'], '10'),
    ],
)
def test_mistakes_are_told_before_anything_is_drawn(line, text, monkeypatch):
    monkeypatch.setattr(slices, 'write_images', lambda *args: pytest.fail('it draws'))
    with pytest.raises(UserError, match=text):
        slices.main(line)
