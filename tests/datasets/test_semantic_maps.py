"""Label maps from COCO masks, against the masks of the generator and of pycocotools."""

import json

import cv2
import numpy as np
import pytest

from selnext_mm.cli.semantic_maps import main
from selnext_mm.datasets.semantic_maps import instance_files, write_semantic_maps
from selnext_mm.datasets.shapes import CLASSES, draw_scene
from selnext_mm.errors import UserError


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_maps_are_the_masks_of_the_generator(shapes_root, tmp_path):
    summary = write_semantic_maps(instance_files(shapes_root)['val2017'], tmp_path / 'maps')
    files = sorted((tmp_path / 'maps').iterdir())
    assert [p.name for p in files] == [
        p.with_suffix('.png').name for p in sorted((shapes_root / 'val2017').iterdir())
    ]
    pixels = 0
    for k, path in enumerate(files):
        scene, drawn = draw_scene(0, 'val', k, 96), read(path)
        assert drawn.dtype == np.uint8
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            # Polygons round what the generator has exactly.
            assert (drawn[mask] == label + 1).mean() > 0.85
        assert (drawn[~scene.masks.any(axis=0)] == 0).mean() > 0.98
        pixels += np.bincount(drawn.ravel(), minlength=7)
    assert summary.classes == ('background', *CLASSES)
    assert [summary.pixels[label] for label in range(7)] == pixels.tolist()
    assert summary.share(0) == pytest.approx(pixels[0] / pixels.sum())


@pytest.fixture
def scene(tmp_path):
    """A COCO file: a large square, a small one in it of a class with an odd id, a crowd."""

    def square(x, y, side):
        return [[x, y, x + side, y, x + side, y + side, x, y + side]]

    runs = {'size': [8, 10], 'counts': [0, 8, 72]}  # the first column
    shapes = [(7, square(4, 2, 2), 0), (30, square(2, 0, 6), 0), (30, runs, 1)]
    content = dict(
        images=[dict(id=1, file_name='cam0/a.jpg', height=8, width=10)],
        annotations=[
            dict(id=i, image_id=1, category_id=c, bbox=[0, 0, 1, 1], area=1, iscrowd=crowd)
            | dict(segmentation=s)
            for i, (c, s, crowd) in enumerate(shapes, 1)
        ],
        categories=[dict(id=30, name='large'), dict(id=7, name='small')],
    )
    folder = tmp_path / 'annotations'
    folder.mkdir()
    (folder / 'instances_one.json').write_text(json.dumps(content))
    return tmp_path


def test_labels_follow_the_categories_of_the_file_and_small_objects_are_on_top(scene, capsys):
    assert main([str(scene)]) == 0
    expected = np.zeros((8, 10), int)
    expected[0:6, 2:8] = 1
    expected[2:4, 4:6] = 2
    expected[:, 0] = 255
    assert read(scene / 'semantic/one/cam0/a.png').tolist() == expected.tolist()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    shares = [['background', '45.0%'], ['large', '40.0%'], ['small', '5.0%'], ['ignored', '10.0%']]
    assert rows == [['one'], ['images', '1'], *shares]


def test_nothing_is_written_over_and_nothing_half(scene):
    files = instance_files(scene)
    (scene / 'maps').mkdir()
    (scene / 'maps' / 'a.png').write_text('somebody else')
    with pytest.raises(UserError, match='is there already; remove it'):
        write_semantic_maps(files['one'], scene / 'maps')
    content = json.loads(files['one'].read_text())
    content['images'].append(dict(content['images'][0], id=2, file_name='cam0/a.png'))
    files['one'].write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'the same map cam0/a\.png'):
        write_semantic_maps(files['one'], scene / 'more')
    content['categories'] = [dict(id=i, name=f'c{i}') for i in range(255)]
    files['one'].write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'255 categories.* 254'):
        write_semantic_maps(files['one'], scene / 'more')
    assert not (scene / 'more').exists()
    with pytest.raises(UserError, match='holds no instances'):
        main([str(scene / 'maps')])


@pytest.mark.parametrize('up', ['../beside.jpg', 'a/../../beside.jpg', '/beside.jpg'])
def test_no_map_lies_outside_of_the_folder(up, tmp_path):
    root = tmp_path / 'data'
    root.mkdir()
    name = str(tmp_path) + up if up.startswith('/') else up
    content = dict(
        images=[dict(id=1, file_name=name, width=8, height=8)],
        categories=[dict(id=1, name='a')],
        annotations=[],
    )
    (root / 'ann.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match='would lie outside of'):
        write_semantic_maps(root / 'ann.json', root / 'maps')
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['ann.json', 'data']
