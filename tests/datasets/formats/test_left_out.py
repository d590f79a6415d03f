"""Labels and images that are left out are told in one line; nothing is paired by guess."""

import json
import os

import pytest

from selnext_mm.datasets.formats import find_dataset
from selnext_mm.errors import UserError
from tests.datasets.formats.bad_labels import folders
from tests.datasets.formats.writers import (
    SMALL,
    describe,
    dump,
    make_images,
    picture,
    write_coco2017,
    write_voc,
    write_yolo,
)

ONE = describe(dict(train=[[('cat', 1, 1, 9, 9)], [('dog', 5, 5, 20, 20)]]), ('cat', 'dog'))


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'set').mkdir()
    return tmp_path / 'set'


def said(folder, text):
    return [line for line in find_dataset(folder, progress=False).choices if text in line]


def used(folder):
    info = find_dataset(folder, progress=False)
    names = []
    for split in info.splits.values():
        images = json.loads(split.annotations.read_text())['images']
        names += [os.path.relpath(split.image_root / i['file_name'], folder) for i in images]
    return sorted(names)


@pytest.mark.parametrize('write', [write_voc, write_coco2017, write_yolo])
def test_nothing_is_told_of_a_whole_set(write, root, cache):
    assert not said(write(SMALL, root), 'left out')


# Pascal VOC.
def test_xml_files_in_no_list_are_told(root, cache):
    write_voc(SMALL, root)
    path = root / 'ImageSets/Main/train.txt'
    path.write_text(path.read_text().replace('train_002\n', ''))
    (line,) = said(root, 'left out')
    assert line.startswith('XML files that no list in ImageSets/Main names, left out: 1')
    assert 'Annotations/train_002.xml' in line


def test_a_second_voc_set_without_lists_is_told(root, cache):
    write_voc(SMALL, root / 'a')
    write_voc(ONE, root / 'b')
    (root / 'b/ImageSets/Main/train.txt').unlink()
    (line,) = said(root, 'left out')
    assert 'left out: 2 (b/Annotations/train_000.xml, b/Annotations/train_001.xml)' in line


@pytest.mark.parametrize('lists', [True, False])
def test_images_without_xml_are_told(lists, root, cache):
    write_voc(SMALL, root)
    if not lists:
        for path in (root / 'ImageSets/Main').iterdir():
            path.unlink()
    picture().save(root / 'JPEGImages/new.png')
    (root / 'SegmentationClass').mkdir()
    picture().save(root / 'SegmentationClass/train_000.png')
    (line,) = said(root, 'left out')
    assert line == 'images without an XML file, left out: 1 (JPEGImages/new.png)'


def test_a_second_xml_file_of_an_image_is_told(root, cache):
    write_voc(SMALL, root)
    for path in (root / 'ImageSets/Main').iterdir():
        path.unlink()
    (root / 'xmls').mkdir()
    text = (root / 'Annotations/train_000.xml').read_text()
    (root / 'xmls/train_000.xml').write_text(text)
    (line,) = said(root, 'left out')
    assert line.startswith('XML files of images with another, left out: 1 (Annotations/')


# COCO.
def test_images_that_no_file_lists_are_told(root, cache):
    write_coco2017(SMALL, root)
    for name in ('train2017/new.png', 'val2017/new.png', 'test2017/1.png'):
        (root / name).parent.mkdir(exist_ok=True)
        picture().save(root / name)
    (line,) = said(root, 'left out')
    assert line == (
        'images that no annotation file lists, left out: 2 (train2017/new.png, val2017/new.png)'
    )


def doubled(folder, file, *names, prefix=''):
    """ONE as the COCO file ``file``, with its images in each of the folders ``names``."""
    content = json.loads(json.dumps(ONE['train']))
    for image in content['images']:
        image['file_name'] = prefix + image['file_name']
    dump(content, folder / file)
    for name in names:
        make_images(ONE, folder, lambda split, image, name=name: f'{name}/{image}')
    return folder


@pytest.mark.parametrize('file', ['annotations.json', 'labels/a.json'])
def test_images_of_one_name_in_two_folders_are_not_guessed(file, root, cache):
    doubled(root, file, 'aug', 'orig')
    with pytest.raises(UserError) as caught:
        find_dataset(root, progress=False)
    for words in (f'{root}/aug', f'{root}/orig', 'train_000.png', 'file_name', 'remove'):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ('file', 'names', 'prefix', 'chosen'),
    [
        ('orig/a.json', ('aug', 'orig'), '', 'orig'),
        ('a_train.json', ('aug', 'orig_train'), '', 'orig_train'),
        ('labels/a.json', ('aug', 'images'), '', 'images'),
        ('labels/a.json', ('images', 'orig'), 'orig/', 'orig'),
        ('labels/a.json', ('images', 'orig'), 'D:\\x\\orig\\', 'orig'),
        ('labels/train.json', ('train', 'val'), '', 'train'),
    ],
)
def test_a_folder_that_fits_the_labels_is_taken_and_told(file, names, prefix, chosen, root, cache):
    doubled(root, file, *names, prefix=prefix)
    assert {name.partition('/')[0] for name in used(root)} == {chosen}
    lines = said(root, 'images of the same names')
    other = next(name for name in names if name != chosen)
    if prefix or other == 'val':  # the labels say which one
        assert not lines
    else:
        assert f'taken from {root}/{chosen}, not from {root}/{other}' in lines[0]
        assert len(lines) == 1


# Class folders.
def test_folders_inside_class_folders_are_told(root, cache):
    deep = ('animals/cat', 'animals/dog', 'vehicles/car')
    folders(*[f'{s}/{n}/{i}.png' for s in ('train', 'val') for n in deep for i in range(3)])(root)
    assert find_dataset(root, progress=False).classes == ('animals', 'vehicles')
    lines = said(root, 'folders inside class folders are no classes')
    assert [line.count('animals/cat, animals/dog, vehicles/car; if') for line in lines] == [1]


def test_one_folder_inside_each_class_folder_is_no_news(root, cache):
    folders(*[f'{n}/images/{i}.png' for n in ('a', 'b') for i in range(5)])(root)
    assert not said(root, 'inside class folders')
