"""Category and image ids."""

import json
import time

import pytest
from mmengine.config import Config

from selnext_mm.errors import UserError
from selnext_mm.inference.categories import BY_ORDER, COCO_IDS, Ids, find_ids


def coco_file(path, categories, images=()):
    content = dict(
        images=[dict(id=i, file_name=n) for n, i in images],
        annotations=[],
        categories=[dict(id=i, name=n) for n, i in categories],
    )
    path.write_text(json.dumps(content))
    return path


EMPTY = Config({})


def test_ids_of_a_file_go_by_name(tmp_path):
    path = coco_file(tmp_path / 'a.json', [('dog', 18), ('cat', 17), ('cow', 3)])
    ids = find_ids(EMPTY, ('cat', 'dog'), path)
    assert ids.categories == {'cat': 17, 'dog': 18}
    assert ids.source == str(path)


def test_a_class_that_the_file_lacks_is_named(tmp_path):
    path = coco_file(tmp_path / 'a.json', [('dog', 18)])
    with pytest.raises(UserError, match=r'lacks 1 of the 2 classes \(cat\); it has dog'):
        find_ids(EMPTY, ('cat', 'dog'), path)


@pytest.mark.parametrize('text', ['[]', 'nothing', '{"images": []}'])
def test_another_file_is_refused(text, tmp_path):
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises(UserError, match=r'x\.json is no'):
        find_ids(EMPTY, ('cat',), tmp_path / 'x.json')


def test_the_test_set_of_the_config_gives_ids_where_it_has_all_names(tmp_path):
    path = coco_file(tmp_path / 'a.json', [('dog', 18), ('cat', 17)])
    cfg = Config(dict(test_evaluator=dict(type='CocoMetric', ann_file=str(path))))
    assert find_ids(cfg, ('dog', 'cat')).categories == {'dog': 18, 'cat': 17}
    assert find_ids(cfg, ('dog', 'ape')).categories == {'dog': 1, 'ape': 2}
    cfg.test_evaluator.ann_file = str(tmp_path / 'gone.json')
    assert find_ids(cfg, ('dog', 'cat')).source == BY_ORDER


def test_coco_s_names_have_coco_s_ids(coco_root):
    datasets = pytest.importorskip('mmdet.datasets')
    classes = datasets.CocoDataset.METAINFO['classes']
    content = json.loads((coco_root / 'annotations/instances_val2017.json').read_text())
    official = {c['name']: c['id'] for c in content['categories']}
    assert len(COCO_IDS) == 80
    assert find_ids(EMPTY, tuple(classes)).categories == official


def test_images_have_the_file_s_ids_or_new_ones():
    ids = Ids({}, '', {'a.jpg': 7, 'x/b.jpg': 3, 'x/c.jpg': 1, 'y/c.jpg': 2})
    names = ['a.jpg', 'b.jpg', 'x/c.jpg', 'c.jpg', 'new.jpg']
    # c.jpg could be two images of the file: it is neither.
    assert ids.number_images(names) == ([7, 3, 1, 8, 9], 2)


def test_two_pictures_never_share_an_id():
    ids = Ids({}, '', {'a.jpg': 7})
    assert ids.number_images(['p/a.jpg', 'q/a.jpg']) == ([8, 9], 2)
    assert ids.number_images(['a.jpg', 'q/a.jpg']) == ([7, 8], 1)


def test_the_folders_of_a_path_decide():
    ids = Ids({}, '', {'cam0/1.jpg': 5, 'cam1/1.jpg': 6})
    paths = ['/data/cam1/1.jpg', '/data/cam0/1.jpg', '/data/cam2/1.jpg']
    assert ids.number_images(['1.jpg'] * 3, paths) == ([6, 5, 7], 1)


def test_new_ids_are_of_the_kind_of_the_file():
    assert Ids({}, '', {'a.jpg': 'x'}).number_images(['b.jpg', 'a.jpg']) == (['new 1', 'x'], 1)
    assert Ids({}, '', {'a.jpg': -3}).number_images(['b.jpg']) == ([1], 1)


def test_many_pictures_take_linear_time():
    names = [f'cam{i % 7}/{i}.jpg' for i in range(20_000)]
    ids = Ids({}, '', {name: i for i, name in enumerate(names)})
    started = time.process_time()
    assert ids.number_images(names) == (list(range(20_000)), 0)
    assert ids.number_images([n[5:] for n in names], names) == (list(range(20_000)), 0)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    'change',
    [
        dict(categories=[dict(name='cat')]),
        dict(categories=[dict(id=[1], name='cat')]),
        dict(categories=['cat']),
        dict(images={'a.jpg': 1}),
        dict(images=[dict(id=1)]),
        dict(images=[dict(id=None, file_name='a.jpg')]),
        dict(images=[dict(id=1, file_name='a.jpg'), dict(id='2', file_name='b.jpg')]),
    ],
)
def test_odd_records_are_one_message(change, tmp_path):
    path = tmp_path / 'a.json'
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='cat')])
    path.write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=r'a\.json'):
        find_ids(EMPTY, ('cat',), path)


def test_without_a_file_images_are_counted():
    assert Ids({}, '').number_images(['a', 'b', 'c'])[0] == [1, 2, 3]
