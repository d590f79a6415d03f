"""Masks of ``train --data``: polygons until the image has its size, where all of them are some."""

import copy
import json

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope
from pycocotools import mask as mask_utils

import selnext_mm
from selnext_mm.datasets.formats import find_dataset
from selnext_mm.recipes.data import data_config
from tests.datasets.formats.writers import describe, write_coco2017

pytest.importorskip('mmdet')
SIZE = (640, 480)
BOXES = {
    'train': [[('cat', 30, 40, 200, 300), ('dog', 300, 10, 300, 400)], [('dog', 5, 5, 90, 60)]],
    'val': [[('cat', 30, 40, 200, 300)]],
}


@pytest.fixture(autouse=True)
def _registered():
    selnext_mm.register_modules()


@pytest.fixture
def described():
    return describe(BOXES, size=SIZE, masks=True)


def as_runs(annotation):
    """The same mask as RLE."""
    runs = mask_utils.merge(mask_utils.frPyObjects(annotation['segmentation'], SIZE[1], SIZE[0]))
    annotation['segmentation'] = dict(runs, counts=runs['counts'].decode())


def steps(info, **more):
    cfg = data_config(info, 160, 2, 0, masks=True, **more)
    return cfg, [s['type'] for s in cfg['train_dataloader']['dataset'].get('pipeline', [])]


def test_polygons_are_kept_as_such(described, tmp_path):
    info = find_dataset(write_coco2017(described, tmp_path / 'd'))
    assert info.splits['train'].polygons
    cfg, kinds = steps(info)
    assert kinds[-2:] == ['PolygonsToBitmaps', 'PackDetInputs']
    assert cfg['train_dataloader']['dataset']['pipeline'][1]['poly2mask'] is False
    assert find_dataset(tmp_path / 'd').splits['train'].polygons, 'also from the cache'


@pytest.mark.parametrize('crowd', [0, 1])
def test_one_mask_that_is_no_polygon_decides_unless_it_is_not_learnt(crowd, described, tmp_path):
    one = described['train']['annotations'][0]
    as_runs(one)
    one['iscrowd'] = crowd
    info = find_dataset(write_coco2017(described, tmp_path / 'd'))
    assert info.splits['train'].polygons is bool(crowd)
    assert ('PolygonsToBitmaps' in steps(info)[1]) is bool(crowd)


def test_mixed_images_and_an_older_cache_take_bitmaps(described, tmp_path):
    info = find_dataset(write_coco2017(described, tmp_path / 'd'))
    mixed = data_config(info, 160, 2, 0, masks=True, mix=True)['train_dataloader']['dataset']
    assert 'PolygonsToBitmaps' not in str(mixed)
    manifest = next(info.cache.glob('*.json'))
    for path in info.cache.glob('*.json'):
        content = json.loads(path.read_text())
        if 'splits' in content:
            manifest = path
            for split in content['splits'].values():
                del split['bitmaps']
            manifest.write_text(json.dumps(content))
    assert not find_dataset(tmp_path / 'd').splits['train'].polygons


def iou(x, y):
    return (x & y).sum((1, 2)) / (x | y).sum((1, 2))


def shrunk(mask, size):
    """The pixels of ``size`` that the mask covers by half or more."""
    return (cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5) * 1


@pytest.mark.parametrize('flipped', [0.0, 1.0])
def test_the_masks_are_those_of_bitmaps(flipped, described, tmp_path):
    info = find_dataset(write_coco2017(described, tmp_path / 'd'))
    whole = []
    for scale in (SIZE, (160, 160)):
        compare(info, scale, flipped, whole)


def compare(info, scale, flipped, whole):
    node = steps(info)[0]['train_dataloader']['dataset']
    pipeline = node['pipeline']
    pipeline[2]['prob'] = flipped
    pipeline[3] = dict(type='Resize', scale=scale, keep_ratio=True)
    stock = [s for s in copy.deepcopy(pipeline) if s['type'] != 'PolygonsToBitmaps']
    stock[1]['poly2mask'] = True
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(node | dict(pipeline=[]))
        ours, theirs = Compose(pipeline), Compose(stock)
        for i in range(len(dataset)):
            a, b = (
                run(copy.deepcopy(dataset.get_data_info(i)))['data_samples'].gt_instances
                for run in (ours, theirs)
            )
            assert (a.bboxes.tensor == b.bboxes.tensor).all()
            x, y = a.masks.masks, b.masks.masks
            assert (x.shape, x.dtype) == (y.shape, np.uint8)
            if scale == SIZE:  # a flip may put an edge elsewhere
                assert (iou(x, y) >= (0.97 if flipped else 1)).all(), iou(x, y)
                whole.append(y)
                continue
            truth = np.stack([shrunk(mask, x.shape[:0:-1]) for mask in whole[i]])
            assert (iou(x, truth) >= 0.9).all(), iou(x, truth)
            assert iou(x, truth).mean() >= iou(y, truth).mean(), 'resizing a bitmap moves it'
