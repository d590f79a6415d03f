"""Every rule of the COCO check, and its counts against what mmdet itself keeps."""

import contextlib
import copy
import io
import json
import random
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selnext_mm.cli.terminal import show
from selnext_mm.datasets.check.coco import check_coco
from selnext_mm.datasets.check.findings import table_lines
from selnext_mm.datasets.coco_file import check_shape, read_coco
from selnext_mm.errors import UserError
from tests.datasets.check.coco_samples import CLASSES, annotation, sound

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def found(content, classes=CLASSES, **kwargs):
    """(level, check) pairs and the report."""
    report = check_coco(content, classes, **kwargs)
    return {(f.level, f.check) for f in report.findings}, report


def text_of(report):
    return ' | '.join(f.sentence() for f in report.findings)


def test_a_sound_file_has_no_findings():
    pairs, report = found(sound(), with_mask=True)
    assert pairs == set()
    assert (report.images, report.objects, report.used) == (3, 6, 6)
    assert report.classes == {'cat': [2, 2], 'dog': [2, 2], 'traffic light': [2, 2]}


def change_all(key, value):
    def change(content):
        for a in content['annotations']:
            a[key] = value(a) if callable(value) else value

    return change


def change_one(key, value):
    def change(content):
        content['annotations'][0][key] = value

    return change


def drop(where, key):
    def change(content):
        del content[where][0][key]

    return change


def set_name(name):
    return lambda content: content['categories'][1].update(name=name)


def reorder(content):
    content['categories'].reverse()


def many(change):
    """Ten more annotations, so that a pattern in the boxes can be told."""

    def changed(content):
        boxes = [(40 + i, 30, 40 + i, 40) for i in range(10)]
        content['annotations'] = [annotation(i, 1, 10, b) for i, b in enumerate(boxes)]
        for a in content['annotations']:
            a['bbox'] = change(a['bbox'])

    return changed


def corners(box):
    x, y, w, h = box
    return [x, y, x + w, y + h]


CASES = {
    # name: (change, level, check, words of the message)
    'mistyped class': (set_name('dgo'), 'error', 'classes', "'dog' (did you mean 'dgo'?)"),
    'class of another case': (set_name('Dog'), 'error', 'classes', "did you mean 'Dog'"),
    'missing class': (set_name('zebra'), 'error', 'classes', "file: 'dog'"),
    'other order': (reorder, 'error', 'order', 'traffic light, dog, cat'),
    'category twice': (set_name('cat'), 'error', 'categories', 'name cat more than once'),
    'category without id': (drop('categories', 'id'), 'error', 'categories', '1 category is'),
    'image without height': (drop('images', 'height'), 'error', 'images', '1 of 3 image records'),
    'image without a name': (drop('images', 'file_name'), 'error', 'images', 'file_name'),
    'image id twice': (
        lambda c: c['images'][1].update(id=1),
        'error',
        'images',
        '1 image ids occur more than once (1)',
    ),
    'file twice': (
        lambda c: c['images'][1].update(file_name='1.jpg'),
        'warn',
        'images',
        'listed as several',
    ),
    'annotation id twice': (change_one('id', 2), 'error', 'annotations', 'repeat an id'),
    'unknown image': (change_one('image_id', 99), 'warn', 'image_id', '1 of 6'),
    'image ids as text': (
        change_all('image_id', lambda a: str(a['image_id'])),
        'error',
        'image_id',
        'of type int',
    ),
    'unknown category': (change_one('category_id', 99), 'warn', 'category_id', '1 of 6'),
    'no box': (drop('annotations', 'bbox'), 'error', 'boxes', 'no bbox of four finite numbers'),
    'box of nan': (change_one('bbox', [1, 2, float('nan'), 4]), 'error', 'boxes', 'finite'),
    'box of three numbers': (change_one('bbox', [1, 2, 3]), 'error', 'boxes', 'four'),
    'no area': (drop('annotations', 'area'), 'note', 'form', 'width x height of the box'),
    'area of words': (change_one('area', 'big'), 'error', 'boxes', 'no finite area'),
    'no iscrowd': (drop('annotations', 'iscrowd'), 'note', 'form', 'counts as 0'),
    'iscrowd of words': (change_one('iscrowd', 'maybe'), 'error', 'annotations', 'not 0 or 1'),
    'annotation id 0': (change_one('id', 0), 'note', 'ids', 'from 1 in memory'),
    'null as an image id': (
        lambda c: c['images'][1].update(id=None),
        'error',
        'images',
        'lack an id',
    ),
    'image ids of two kinds': (
        lambda c: c['images'][1].update(id='2'),
        'error',
        'images',
        'some ids are texts and some are numbers',
    ),
    'category ids of two kinds': (
        lambda c: c['categories'][1].update(id='11'),
        'error',
        'categories',
        'some ids are texts and some are numbers',
    ),
    'area 0': (change_one('area', 0), 'warn', 'boxes', 'area of 0'),
    'area 0 everywhere': (change_all('area', 0), 'error', 'boxes', '6 of 6'),
    'flat box': (change_one('bbox', [1, 2, 30, 0]), 'warn', 'boxes', 'under one pixel'),
    'box outside': (change_one('bbox', [200, 2, 30, 20]), 'warn', 'boxes', 'outside the image'),
    'box sticks out': (change_one('bbox', [90, 2, 30, 20]), 'warn', 'boxes', 'stick out'),
    'two corners': (many(corners), 'error', 'boxes', 'two corners x1, y1, x2, y2'),
    'fractions': (many(lambda b: [v / 100 for v in b]), 'error', 'boxes', 'fractions'),
    'all crowds': (change_all('iscrowd', 1), 'error', 'iscrowd', '(100%) are marked'),
    'some crowds': (change_one('iscrowd', 1), 'warn', 'iscrowd', '1 of 6'),
    'no annotations': (lambda c: c['annotations'].clear(), 'error', 'annotations', 'no annot'),
    'no mask': (drop('annotations', 'segmentation'), 'error', 'masks', 'configs/retinanet'),
    'empty mask': (change_one('segmentation', []), 'error', 'masks', 'no segmentation'),
    'polygon of two points': (
        change_one('segmentation', [[1, 2, 3, 4]]),
        'warn',
        'masks',
        'three points or more',
    ),
    'polygon of words': (change_one('segmentation', [['a'] * 6]), 'error', 'masks', 'finite'),
    'polygon line': (
        change_one('segmentation', [[1, 1, 2, 2, 3, 3]]),
        'warn',
        'masks',
        'without area',
    ),
    'polygon outside': (
        change_one('segmentation', [[500, 500, 600, 500, 600, 600]]),
        'warn',
        'masks',
        'outside the image',
    ),
    'run lengths of another size': (
        change_one('segmentation', dict(size=[80, 99], counts=[7920])),
        'error',
        'masks',
        'another size',
    ),
    'coordinate of nan': (
        change_one('segmentation', [[1, 2, 3, 4, float('nan'), 6]]),
        'error',
        'masks',
        'finite',
    ),
    'coordinate far away': (
        change_one('segmentation', [[1, 2, 3, 4, 2e8, 6]]),
        'error',
        'masks',
        '10 image sizes away',
    ),
    'coordinate of null': (
        change_one('segmentation', [[1, 2, 3, 4, None, 6]]),
        'error',
        'masks',
        'finite',
    ),
    'encoded run lengths cut': (
        change_one('segmentation', dict(size=[80, 100], counts='`0')),
        'error',
        'masks',
        'do not add up',
    ),
    'encoded run lengths of other letters': (
        change_one('segmentation', dict(size=[80, 100], counts='a b')),
        'error',
        'masks',
        'no encoded string',
    ),
    'run lengths cut off': (
        change_one('segmentation', dict(size=[80, 100], counts=[7000])),
        'error',
        'masks',
        'do not add up',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_what_is_wrong_is_found(name):
    change, level, check, words = CASES[name]
    content = sound()
    change(content)
    pairs, report = found(content, with_mask=True)
    assert (level, check) in pairs, text_of(report)
    assert words in text_of(report)


@pytest.mark.parametrize('name', [n for n in CASES if n.startswith('coordinate')])
def test_the_quick_look_finds_what_would_kill_the_process(name):
    content = sound()
    CASES[name][0](content)
    assert ('error', 'masks') in found(content, with_mask=True, deep=False)[0]


@pytest.mark.parametrize(('size', 'level'), [(70, None), (81, 'error'), (90, 'error')])
def test_images_that_the_filter_leaves_out_are_counted(size, level):
    pairs, report = found(sound(), min_size=size)
    assert ((level, 'filter') in pairs) == (level is not None)
    assert report.used == (6 if level is None else 0)


def test_a_small_image_takes_its_annotations_along():
    content = sound()
    content['images'][0].update(width=20)
    for a in content['annotations'][:2]:
        a['bbox'] = [1, 1, 10, 10]
    pairs, report = found(content, min_size=32)
    assert ('warn', 'filter') in pairs
    assert report.used == 4


def test_a_set_without_labels_has_no_findings_where_none_are_wanted():
    content = sound()
    content['annotations'].clear()
    assert found(content, labelled=False)[0] == set()


def test_a_subset_of_the_classes_is_allowed_and_said():
    pairs, report = found(sound(), ('cat', 'traffic light'))
    assert pairs == {('warn', 'classes'), ('note', 'images')} - {('note', 'images')}
    assert 'dog' in text_of(report)
    assert report.used == 4


def test_masks_are_only_asked_for_where_they_are_loaded():
    content = sound()
    change_all('segmentation', None)(content)
    assert found(content)[0] == set()


def mmdet_keeps(content, classes, path):
    """Instances that mmdet's own CocoDataset makes of the file: the oracle of ``used``."""
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset

    path.write_text(json.dumps(content))
    dataset = CocoDataset(
        ann_file=str(path),
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
        pipeline=[],
        serialize_data=False,
    )
    kept = [x for item in dataset.data_list for x in item['instances']]
    return [x for x in kept if not x['ignore_flag']]


def spoil(content, seed):
    """Change boxes, areas and categories in ways that mmdet accepts and drops."""
    generator = random.Random(seed)
    for a in content['annotations']:
        change = generator.choice(['none', 'none', 'flat', 'out', 'area', 'crowd', 'ignore'])
        if change == 'flat':
            a['bbox'][generator.choice([2, 3])] = generator.choice([0, 0.5, -3])
        elif change == 'out':
            a['bbox'][generator.choice([0, 1])] = generator.choice([-5000, 5000])
        elif change == 'area':
            a['area'] = generator.choice([0, -1, 0.01])
        elif change == 'crowd':
            a['iscrowd'] = 1
        elif change == 'ignore':
            a['ignore'] = True
    return content


@pytest.mark.parametrize('seed', range(3))
def test_used_is_what_mmdet_keeps(seed, tmp_path):
    content = sound()
    content['annotations'] = [
        annotation(i, 1 + i % 3, 10 + i % 3, (i % 7, i % 5, 20 + i % 11, 20)) for i in range(60)
    ]
    spoil(content, seed)
    classes = ('cat', 'traffic light')
    kept = mmdet_keeps(content, classes, tmp_path / 'a.json')
    report = check_coco(content, classes)
    assert report.used == len(kept)
    assert 0 < report.used < 40
    for label, name in enumerate(classes):
        assert report.classes[name][0] == sum(x['bbox_label'] == label for x in kept)


@pytest.mark.realdata
@pytest.mark.parametrize('split', ['train', 'val'])
def test_real_coco_has_no_error_and_is_counted_as_mmdet_does(coco_root, split, tmp_path):
    path = coco_root / 'annotations' / f'instances_{split}2017.json'
    content = read_coco(path)
    classes = tuple(c['name'] for c in content['categories'])
    report = check_coco(content, classes, with_mask=True)
    assert report.errors == [], text_of(report)
    assert report.used == len(mmdet_keeps(content, classes, tmp_path / 'a.json'))
    spoilt = spoil(copy.deepcopy(content), 1)
    assert check_coco(spoilt, classes).used == len(
        mmdet_keeps(spoilt, classes, tmp_path / 'b.json')
    )


def test_stock_mmdet_shifts_the_labels_of_a_mistyped_class(tmp_path):
    """The reason for the check: nothing is raised, and dog's label becomes that of cat."""
    content = sound()
    kept = mmdet_keeps(content, ('kat', 'dog', 'traffic light'), tmp_path / 'a.json')
    assert sorted(x['bbox_label'] for x in kept) == [0, 0, 1, 1]


WRONG_FILES = {
    'empty': (b'', 'is empty'),
    'spaces': (b'  \n', 'is empty'),
    'cut': (json.dumps(sound()).encode()[:400], 'truncated'),
    'comma': (b'{"images": [], }', 'not JSON: line 1'),
    'html': (b'<!DOCTYPE html><p>404', 'HTML'),
    'pickle': (b'\x80\x04K\x01.', 'pickle'),
    'zip': (b'PK\x03\x04....', 'zip archive'),
    'gzip': (b'\x1f\x8b\x08\x00', 'gzip'),
    'lfs': (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
    'latin 1': (b'{"a": "\xe9"}', 'UTF-8'),
    'list': (b'[]', 'holds a list'),
    'number': (b'3', 'holds a int'),
    'results': (b'[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', 'COCO results'),
    'other keys': (b'{"shapes": [], "version": 1}', 'lacks images, annotations, categories'),
    'dict of images': (b'{"images": {}, "annotations": [], "categories": []}', 'images is a dict'),
    'no images': (b'{"images": [], "annotations": [], "categories": []}', 'lists no images'),
    'deep': (b'[' * 100_000, 'cannot|read|JSON|truncated'),
    'more behind it': (b'{"images": []} x', 'not JSON: line 1, column 16: Extra data'),
    'key twice': (
        b'{"images": [{"id": 1, "id": 2}], "annotations": [], "categories": []}',
        "the key 'id' twice, with 1 and with 2",
    ),
}


@pytest.mark.parametrize('name', WRONG_FILES)
def test_a_file_that_is_no_coco_file_is_one_message(name, tmp_path):
    content, words = WRONG_FILES[name]
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_coco(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_key_twice_with_one_value_is_read(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(sound()).replace('"id": 1,', '"id": 1, "id": 1,'))
    assert read_coco(path) == sound()


@pytest.mark.parametrize('value', [7, True, -0.5, 'x', {'id': 1}])
def test_what_is_not_asked_for_is_a_list_or_null_all_the_same(value, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(dict(images=value, categories=[])))
    with pytest.raises(UserError, match='images is a'):
        read_coco(path, ('categories',))
    path.write_text(json.dumps(dict(images=None, categories=[])))
    assert read_coco(path, ('categories',))['images'] is None


def test_a_missing_file_and_a_folder_are_said(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        read_coco(tmp_path / 'none.json')
    with pytest.raises(UserError, match='not a regular file'):
        read_coco(tmp_path)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(string.printable, max_size=5),
    st.just('half \ud800'),
)
ANY = st.recursive(
    SCALARS,
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=4), x, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw):
    """The sound file with up to four fields, records or lists replaced, removed or doubled."""
    content = sound()
    for _ in range(draw(st.integers(1, 4))):
        node, key = content, draw(st.sampled_from(['images', 'annotations', 'categories']))
        for _ in range(draw(st.integers(0, 3))):
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            node, key = inner, draw(st.sampled_from(keys))
        action = draw(st.sampled_from(['replace', 'remove', 'double']))
        if action == 'replace':
            node[key] = draw(ANY)
        elif action == 'remove':
            del node[key]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        if set(content) != {'images', 'annotations', 'categories'}:
            break
    return content


@FUZZ
@given(content=mutated(), with_mask=st.booleans())
def test_a_file_mutated_at_random_never_crashes_the_check(content, with_mask):
    try:
        checked = check_shape(content, 'a.json')
    except UserError:
        return
    report = check_coco(checked, CLASSES, with_mask=with_mask)
    assert 0 <= report.used <= report.objects == len(content['annotations'])
    json.dumps(report.as_dict())
    assert all('\n' not in f.sentence() for f in report.findings)
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding='utf-8')):
        show(table_lines([report]))


@FUZZ
@given(cut=st.floats(0, 0.999), byte=st.integers(0, 255), place=st.floats(0, 0.999))
def test_a_damaged_file_is_a_message_or_is_checked(tmp_path_factory, cut, byte, place):
    data = bytearray(json.dumps(sound()).encode())
    data = data[: int(len(data) * (1 - cut / 5))]
    data[int(len(data) * place)] = byte
    path = tmp_path_factory.mktemp('damaged') / 'a.json'
    path.write_bytes(data)
    try:
        content = read_coco(path)
    except UserError:
        return
    check_coco(content, CLASSES, with_mask=True)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (change_all('segmentation', [[1, 1, 5, 5]]), 'no polygon of three points or more'),
        (change_all('ignore', 1), 'are marked ignore'),
    ],
)
def test_where_no_annotation_is_usable_the_first_message_says_why(change, reason):
    content = sound()
    change(content)
    _, report = found(content, with_mask=True)
    (error,) = report.errors
    assert 'no annotation is usable. Above all: 6 of 6 annotations ' in error.sentence()
    assert reason in error.sentence()
