import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from selnext_mm.datasets import shapes
from selnext_mm.datasets.shape_scene import _UNIT, MAX_OBJECTS, MIN_AREA, MIN_OBJECTS
from selnext_mm.datasets.shapes import CLASSES, annotation_file, draw_scene, write_shapes
from selnext_mm.errors import UserError

TINY = {'train': 3, 'val': 2, 'size': 64}


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*') if p.is_file()
    }


def decode(annotation, size):
    segmentation = annotation['segmentation']
    if isinstance(segmentation, list):
        segmentation = mask_utils.merge(mask_utils.frPyObjects(segmentation, size, size))
    return mask_utils.decode(segmentation).astype(bool)


@pytest.fixture(scope='module')
def scenes():
    return {split: [draw_scene(0, split, k) for k in range(30)] for split in ('train', 'val')}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shapes') / 'tiny'
    write_shapes(folder, **TINY)
    return folder


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / 'copy')


def test_same_call_writes_the_same_bytes(tiny, tmp_path):
    write_shapes(tmp_path / 'again', **TINY)
    again = contents(tmp_path / 'again')
    assert len(again) == 3 + 2 + 2
    assert again == contents(tiny)


def test_larger_set_begins_with_the_smaller_one(tiny, tmp_path):
    write_shapes(tmp_path / 'more', train=5, val=4, size=64)
    less, more = contents(tiny), contents(tmp_path / 'more')
    for split, count in (('train', 3), ('val', 2)):
        name = f'annotations/instances_{split}2017.json'
        a, b = json.loads(less.pop(name)), json.loads(more.pop(name))
        assert b['images'][:count] == a['images']
        assert b['annotations'][: len(a['annotations'])] == a['annotations']
        assert len(b['images']) == count + 2
    assert less.items() <= more.items()


@pytest.mark.parametrize('other', [(1, 'train', 0, 64), (0, 'val', 0, 64), (0, 'train', 1, 64)])
def test_seed_split_and_index_change_the_picture(other):
    assert not np.array_equal(draw_scene(0, 'train', 0, 64).image, draw_scene(*other).image)


def test_files_load_as_coco_and_hold_the_drawn_scenes(tiny, capsys):
    for split, count in (('train', 3), ('val', 2)):
        coco = COCO(annotation_file(tiny, split))
        assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
        assert len(coco.imgs) == count
        for k, (image_id, record) in enumerate(sorted(coco.imgs.items())):
            scene = draw_scene(0, split, k, 64)
            bgr = cv2.imread(str(tiny / f'{split}2017' / record['file_name']))
            assert bgr.shape == (record['height'], record['width'], 3) == (64, 64, 3)
            assert np.abs(bgr[..., ::-1].astype(float) - scene.image).mean() < 6  # JPEG, RGB order
            found = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
            assert [a['category_id'] - 1 for a in found] == scene.labels
            for annotation in found:
                assert annotation['iscrowd'] == 0
                assert np.array_equal(coco.annToMask(annotation), decode(annotation, 64))
    ids = [set(COCO(annotation_file(tiny, s)).anns) for s in ('train', 'val')]
    assert not ids[0] & ids[1]


def test_segmentation_is_the_drawn_visible_region(scenes):
    kinds = set()
    for scene in (*scenes['train'], *scenes['val']):
        assert scene.masks.sum(axis=0).max() == 1  # modal: a pixel has one owner
        for mask, annotation in zip(scene.masks, scene.annotations, strict=True):
            coded = decode(annotation, 224)
            assert (coded & mask).sum() / (coded | mask).sum() > 0.96
            ys, xs = np.nonzero(coded)
            box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert annotation['bbox'] == box
            assert annotation['area'] == coded.sum() >= 0.9 * MIN_AREA
            kinds.add((CLASSES[annotation['category_id'] - 1], type(annotation['segmentation'])))
    assert ('ring', dict) in kinds
    assert {(name, list) for name in CLASSES} <= kinds


def test_region_with_a_hole_is_rle_and_any_other_polygons(scenes):
    def holes(mask):
        _, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        return (tree[0][:, 3] >= 0).any()

    polygons = 0
    for scene in (*scenes['train'], *scenes['val']):
        for mask, annotation in zip(scene.masks, scene.annotations, strict=True):
            if isinstance(annotation['segmentation'], dict):
                assert isinstance(annotation['segmentation']['counts'], str)
                assert np.array_equal(decode(annotation, 224), mask)
                # the rim may be thinner than a pixel
                assert holes(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))))
            else:
                polygons += 1
                closed = cv2.erode(
                    (decode(annotation, 224) & ~mask).astype(np.uint8), np.ones((2, 2))
                )
                assert closed.sum() <= 2  # nothing but border pixels is filled
    assert polygons > 100


def test_all_sizes_and_classes_are_there(scenes):
    for split in scenes.values():
        area = np.array([a['area'] for s in split for a in s.annotations])
        assert np.mean(area < 32**2) > 0.05
        assert np.mean(area < 32**2) < 0.3
        assert np.mean(area > 96**2) > 0.03
        assert {label for s in split for label in s.labels} == set(range(len(CLASSES)))
        counts = [len(s.labels) for s in split]
        assert (min(counts), max(counts)) == (MIN_OBJECTS, MAX_OBJECTS)


def test_objects_stand_out_from_what_surrounds_them(scenes):
    contrast = []
    for scene in scenes['val']:
        image = scene.image.astype(float)
        ground = image[~scene.masks.any(axis=0)].mean(axis=0)
        contrast += [np.linalg.norm(image[m].mean(axis=0) - ground) for m in scene.masks]
    assert np.percentile(contrast, 5) > 40


@pytest.mark.parametrize(
    ('name', 'area'),
    [('circle', 2 * 2 * np.pi / 4), ('square', 2), ('ring', np.pi * (1 - 0.5**2))],
)
def test_contours_are_scaled_to_area_one(name, area):
    contours = _UNIT[CLASSES.index(name)]
    radius = np.linalg.norm(contours[0], axis=1).max()
    assert radius == pytest.approx(1 / np.sqrt(area), rel=2e-3)


@pytest.mark.parametrize(
    ('bad', 'limits'),
    [
        ({'train': 0}, 'train=0; expected a whole number from 1'),
        ({'val': -1}, 'val=-1'),
        ({'size': 63}, 'size=63; expected a whole number from 64 to 1024'),
        ({'size': 1025}, 'size=1025'),
        ({'seed': -1}, 'seed=-1'),
    ],
)
def test_value_out_of_range_is_named(tmp_path, bad, limits):
    with pytest.raises(UserError, match=limits):
        write_shapes(tmp_path / 'x', **{**TINY, **bad})
    assert not list(tmp_path.iterdir())


def test_same_data_set_is_left_alone(copy):
    before = {p: p.stat().st_mtime_ns for p in copy.rglob('*')}
    summary = write_shapes(copy, **TINY)
    assert not summary.written
    assert summary.images == {'train': 3, 'val': 2}
    assert {p: p.stat().st_mtime_ns for p in copy.rglob('*')} == before


def test_empty_folder_is_filled(tiny, tmp_path):
    (tmp_path / 'empty').mkdir()
    assert write_shapes(tmp_path / 'empty', **TINY).written
    assert contents(tmp_path / 'empty') == contents(tiny)


@pytest.mark.parametrize('change', [{'seed': 1}, {'train': 4}, {'size': 65}])
def test_other_parameters_need_force(copy, change):
    before = contents(copy)
    name, value = next(iter(change.items()))
    with pytest.raises(UserError, match=rf'asked: {value}.*--force'):
        write_shapes(copy, **{**TINY, **change})
    assert contents(copy) == before
    assert write_shapes(copy, **{**TINY, **change}, force=True).written
    generator = json.loads(annotation_file(copy, 'train').read_text())['info']['generator']
    assert generator['images' if name == 'train' else name] == value
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def test_other_generator_version_is_another_data_set(copy, monkeypatch):
    monkeypatch.setattr(shapes, 'VERSION', shapes.VERSION + 1)
    with pytest.raises(UserError, match='version'):
        write_shapes(copy, **TINY)


def test_incomplete_data_set_is_not_taken_for_whole(copy, tiny):
    next((copy / 'train2017').iterdir()).unlink()
    with pytest.raises(UserError, match='lacks 1 of its files'):
        write_shapes(copy, **TINY)
    write_shapes(copy, **TINY, force=True)
    assert contents(copy) == contents(tiny)


@pytest.mark.parametrize('force', [False, True])
def test_strangers_folder_is_never_touched(tmp_path, force):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations/instances_train2017.json').write_text('{"info": {}}')
    before = contents(tmp_path)
    with pytest.raises(UserError, match='is not empty and holds no shapes data set'):
        write_shapes(tmp_path, **TINY, force=force)
    assert contents(tmp_path) == before


def test_force_keeps_a_strangers_file_among_ours(copy):
    (copy / 'train2017/notes.txt').write_text('mine')
    with pytest.raises(UserError, match=r'notes\.txt'):
        write_shapes(copy, **{**TINY, 'seed': 1}, force=True)
    assert (copy / 'train2017/notes.txt').read_text() == 'mine'


def test_path_of_a_file_is_refused(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(UserError, match='is a file'):
        write_shapes(tmp_path / 'file', **TINY)
    with pytest.raises(UserError, match='cannot write'):
        write_shapes(tmp_path / 'file/below', **TINY)


def test_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(seed, split, index, size):
        if (split, index) == ('val', 1):
            raise OSError(28, 'No space left on device')
        return draw_scene(seed, split, index, size)

    monkeypatch.setattr(shapes, 'draw_scene', fail)
    with pytest.raises(UserError, match='No space left on device'):
        write_shapes(tmp_path / 'a/b/shapes', **TINY)
    assert not list(tmp_path.iterdir())


def test_failure_under_force_keeps_the_old_data_set(copy, monkeypatch):
    before = contents(copy)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, 'draw_scene', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(copy, **{**TINY, 'seed': 1}, force=True)
    assert contents(copy) == before
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]


def test_failed_rename_puts_the_old_data_set_back(copy, monkeypatch):
    before, replace = contents(copy), os.replace

    def fail(source, target):
        if Path(source).suffix == '.tmp':
            raise OSError(16, 'Device or resource busy')
        return replace(source, target)

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(UserError, match='busy'):
        write_shapes(copy, **{**TINY, 'seed': 1}, force=True)
    assert contents(copy) == before
    assert [p.name for p in copy.parent.iterdir()] == [copy.name]
