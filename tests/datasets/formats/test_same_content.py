"""One data set in every format is one set of COCO files, bit for bit, and the same batches."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch

from selnext_mm.datasets.formats import find_dataset
from tests.datasets.formats.writers import (
    SMALL,
    WRITERS,
    describe,
    link_images,
    write_coco2017,
    write_voc,
    write_yolo,
)


def contents(info):
    """Split -> bytes of its annotation file."""
    return {name: split.annotations.read_bytes() for name, split in info.splits.items()}


def written(described):
    """What has to come out of a description, by its definition: ids from 1, in order of names."""
    return {
        split: dict(
            images=content['images'],
            annotations=content['annotations'],
            categories=content['categories'],
        )
        for split, content in described.items()
    }


@pytest.mark.parametrize('kind', WRITERS)
def test_each_format_gives_the_description_back(kind, tmp_path):
    info = find_dataset(WRITERS[kind](SMALL, tmp_path / kind))
    assert info.format == kind.replace('coco2017', 'coco').replace('roboflow', 'coco')
    assert info.task == 'boxes'
    assert info.classes == ('ape', 'cat', 'dog')
    assert {k: json.loads(v) for k, v in contents(info).items()} == written(SMALL)
    for split in info.splits.values():
        for image in json.loads(split.annotations.read_text())['images']:
            assert (split.image_root / image['file_name']).is_file()


def test_all_formats_give_the_same_bytes(tmp_path):
    found = {k: contents(find_dataset(w(SMALL, tmp_path / k))) for k, w in WRITERS.items()}
    assert found['yolo'] == found['voc'] == found['roboflow'] == found['coco2017']


@pytest.mark.parametrize('digits', [4, 5, 6, 7, 16, None])
@pytest.mark.parametrize('size', [(64, 48), (641, 479), (1000, 999)])
def test_yolo_s_fractions_give_whole_pixels_back(digits, size, tmp_path):
    rng = np.random.default_rng(1)
    images = []
    for _ in range(20):
        corners = rng.integers(0, size, (10, 2, 2))
        low, high = corners.min(1), corners.max(1)
        sides = np.minimum(high - low + 1, size - low)
        images.append([('cat', *map(int, b)) for b in np.concatenate([low, sides], 1)])
    described = describe(dict(train=images, val=images), ('cat', 'dog'), size)
    info = find_dataset(write_yolo(described, tmp_path / 'yolo', digits=digits))
    assert {k: json.loads(v) for k, v in contents(info).items()} == written(described)


def test_yolo_s_fractions_give_hundredths_of_a_pixel_back(tmp_path):
    # COCO's boxes have two decimals.
    boxes = [('cat', 12.34, 5.6, 20.07, 31.99), ('dog', 0.01, 0.02, 63.98, 47.5)]
    described = describe(dict(train=[boxes], val=[boxes]), ('cat', 'dog'))
    info = find_dataset(write_yolo(described, tmp_path / 'yolo', digits=6))
    found = json.loads(contents(info)['train'])
    assert [a['bbox'] for a in found['annotations']] == [list(b[1:]) for b in boxes]


def test_masks_are_the_same_in_coco_and_yolo(tmp_path):
    boxes = dict(train=[[('ape', 3, 4, 20, 30), ('cat', 1, 2, 8, 6)]], val=[[('ape', 2, 2, 8, 8)]])
    described = describe(boxes, ('ape', 'cat'), masks=True)
    infos = [
        find_dataset(write(described, tmp_path / write.__name__))
        for write in (write_yolo, write_coco2017)
    ]
    assert [i.task for i in infos] == ['masks', 'masks']
    assert contents(infos[0]) == contents(infos[1])
    assert {k: json.loads(v) for k, v in contents(infos[0]).items()} == written(described)


def read_bccd(root):
    """The real set as a description, straight from its XML, by Pascal VOC's definition."""
    classes, described = ('Platelets', 'RBC', 'WBC'), {}
    image_id = annotation_id = 0
    for split in ('train', 'val', 'test'):
        content = dict(images=[], annotations=[])
        content['categories'] = [dict(id=i, name=n) for i, n in enumerate(classes, 1)]
        for stem in sorted((root / f'ImageSets/Main/{split}.txt').read_text().split()):
            image_id += 1
            content['images'].append(
                dict(id=image_id, file_name=f'{stem}.jpg', width=640, height=480)
            )
            for item in ElementTree.parse(root / f'Annotations/{stem}.xml').iter('object'):
                annotation_id += 1
                x0, y0, x1, y1 = (int(v.text) for v in item.find('bndbox'))
                # Pixels x0 to x1, counted from 1: x1 - x0 + 1 of them, the first at x0 - 1.
                box = [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1]
                content['annotations'].append(
                    dict(
                        id=annotation_id,
                        image_id=image_id,
                        category_id=classes.index(item.findtext('name')) + 1,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=0,
                    )
                )
        described[split] = content
    return described


@pytest.fixture(scope='module')
def bccd_formats(bccd_root, tmp_path_factory):
    """(description, {kind: folder}) of the real set, in Pascal VOC and as others write it."""
    folder = tmp_path_factory.mktemp('bccd')
    described = read_bccd(bccd_root)
    images = link_images(bccd_root / 'JPEGImages')
    folders = {k: w(described, folder / k, images) for k, w in WRITERS.items() if k != 'voc'}
    return described, {'voc': bccd_root, **folders}


@pytest.mark.realdata
def test_the_real_set_is_the_same_in_every_format(bccd_formats):
    described, folders = bccd_formats
    infos = {kind: find_dataset(folder) for kind, folder in folders.items()}
    first = contents(infos['voc'])
    assert {k: json.loads(v) for k, v in first.items()} == written(described)
    assert {k: len(c['images']) for k, c in described.items()} == dict(train=205, val=87, test=72)
    names = [a['category_id'] for c in described.values() for a in c['annotations']]
    assert [names.count(i) for i in (1, 2, 3)] == [361, 4155, 372]
    for kind, info in infos.items():
        assert contents(info) == first, kind
        assert info.task == 'boxes'


@pytest.mark.realdata
def test_the_real_set_gives_the_same_training_batches(bccd_formats):
    pytest.importorskip('mmdet', reason='needs mmdet')
    from mmdet.datasets import CocoDataset
    from mmdet.utils import register_all_modules

    register_all_modules()
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomResize', scale=[(320, 240), (640, 480)], keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]

    def batches(folder):
        info = find_dataset(folder)
        config = info.dataset_config('train', pipeline=pipeline)
        assert config.pop('type') == 'CocoDataset'
        dataset = CocoDataset(**config)
        np.random.seed(0)
        for i in range(0, len(dataset), 9):
            data = dataset[i]
            truth = data['data_samples'].gt_instances
            yield (
                Path(data['data_samples'].img_path).name,
                data['inputs'],
                truth.bboxes.tensor,
                truth.labels,
            )

    _, folders = bccd_formats
    reference = list(batches(folders['voc']))
    assert len(reference) == 23
    for kind in ('yolo', 'roboflow', 'coco2017'):
        for one, other in zip(reference, batches(folders[kind]), strict=True):
            assert one[0] == other[0]
            for a, b in zip(one[1:], other[1:], strict=True):
                assert torch.equal(a, b), kind


def test_pascal_voc_from_zero_and_from_one_are_the_same(tmp_path):
    infos = [
        find_dataset(write_voc(SMALL, tmp_path / f'voc{origin}', origin=origin))
        for origin in (0, 1)
    ]
    assert contents(infos[0]) == contents(infos[1])
    for info, words in zip(infos, ('count from 0', 'count from 1'), strict=True):
        assert any(words in c for c in info.choices)
