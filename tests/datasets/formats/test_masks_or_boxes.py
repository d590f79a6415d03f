"""Whether masks or boxes are learnt, and what is said of objects without a mask."""

import json

from selnext_mm.datasets.formats import find_dataset
from tests.datasets.formats.writers import SMALL, describe, write_coco2017


def test_masks_that_are_only_boxes_are_boxes(tmp_path):
    folder = write_coco2017(SMALL, tmp_path / 'set')
    for path in (folder / 'annotations').iterdir():
        content = json.loads(path.read_text())
        for a in content['annotations']:
            x, y, w, h = a['bbox']
            a['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        path.write_text(json.dumps(content))
    info = find_dataset(folder)
    assert info.task == 'boxes'
    assert info.no_masks == 'every mask is just the four corners of its box'
    assert f'boxes: {info.no_masks}' in info.choices


def masked(tmp_path, without, of):
    described = describe(
        dict(train=[[('cat', 2, 2, 9, 9)]] * of, val=[[('cat', 2, 2, 9, 9)]]), ('cat',), masks=True
    )
    for a in described['train']['annotations'][:without]:
        a['segmentation'] = []
    return find_dataset(write_coco2017(described, tmp_path / 'set'))


def test_some_masks_among_boxes_are_boxes(tmp_path):
    info = masked(tmp_path, 3, 10)
    assert info.task == 'boxes'
    assert info.no_masks == (
        'only 8 of 11 objects have a mask; the others are in 3 images '
        '(train_000.png, train_001.png, train_002.png): give them masks, or remove them'
    )
    assert f'boxes: {info.no_masks}' in info.choices
    assert 'segmentation' not in info.splits['train'].annotations.read_text()


def test_single_objects_without_a_mask_are_left_out_of_masks(tmp_path):
    info = masked(tmp_path, 1, 120)
    assert (info.task, info.splits['train'].objects) == ('masks', 119)
    assert 'objects without a mask, left out: 1 of 121, in 1 image (train_000.png)' in info.choices
    assert info.no_masks == ''
