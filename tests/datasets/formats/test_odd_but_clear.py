"""Labels that are written oddly: read where they mean one thing, else one message with the way out.

What is read here is what check-data and training read of the same file.
"""

import json
import os

import pytest

from selnext_mm.datasets.formats import find_dataset
from selnext_mm.errors import UserError
from tests.datasets.formats.bad_labels import TRAIN, XML, folders, line, yolo
from tests.datasets.formats.writers import (
    SMALL,
    describe,
    picture,
    write_coco2017,
    write_voc,
    write_yolo,
)

MASKS = describe(
    {'train': [[('cat', 3, 4, 10, 20)]] * 4, 'val': [[('dog', 1, 1, 9, 9)]]}, masks=True
)
MASKS['val']['annotations'][0]['category_id'] = 2
VAL = 'annotations/instances_val2017.json'


def rewrite(folder, change, described=SMALL, names=(TRAIN, VAL)):
    """A COCO set in ``folder`` whose files are what ``change`` makes of their content."""
    write_coco2017(described, folder)
    for name in names:
        content = json.loads((folder / name).read_text())
        changed = change(content)
        content = content if changed is None else changed
        data = content if isinstance(content, str | bytes) else json.dumps(content)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def counts(info):
    return {name: (s.images, s.objects) for name, s in info.splits.items()}


def refused(folder, **options):
    with pytest.raises(UserError) as caught:
        find_dataset(folder, progress=False, **options)
    return str(caught.value)


def said(info, text):
    return [choice for choice in info.choices if text in choice]


def renumber(content):
    for record in (*content['images'], *content['categories'], *content['annotations']):
        record['id'] = float(record['id'])


def long_description(content):
    return {'info': {'description': 'x' * 100_000}, **content}


@pytest.mark.parametrize(
    'change',
    [
        lambda c: json.dumps(c).encode('utf-16'),
        lambda c: json.dumps(c).encode('utf-32-be'),
        lambda c: b'\xef\xbb\xbf' + json.dumps(c).encode(),
        renumber,
        long_description,
    ],
    ids=['utf-16', 'utf-32', 'mark', 'float ids', 'long description'],
)
def test_the_same_labels_in_another_form(change, tmp_path, cache):
    plain = find_dataset(write_coco2017(SMALL, tmp_path / 'plain'), progress=False)
    info = find_dataset(rewrite(tmp_path / 'set', change), progress=False)
    assert (counts(info), info.classes) == (counts(plain), plain.classes)
    for split in info.splits:
        assert info.splits[split].annotations.read_text() == (
            plain.splits[split].annotations.read_text()
        )


def in_text(content):
    for a in content['annotations']:
        a['segmentation'] = [[str(v) for v in polygon] for polygon in a['segmentation']]


def test_coordinates_as_text_are_masks(tmp_path, cache):
    info = find_dataset(rewrite(tmp_path, in_text, MASKS), progress=False)
    assert (info.task, counts(info)['train']) == ('masks', (4, 4))


def test_run_lengths_that_are_no_string_of_them_are_no_mask(tmp_path, cache):
    def spoil(content):
        content['annotations'][0]['segmentation'] = dict(counts='abc', size=[48, 64])

    info = find_dataset(rewrite(tmp_path, spoil, MASKS), progress=False)
    assert info.task == 'boxes'
    assert said(info, 'masks that cannot be used')


@pytest.mark.parametrize('value', [2, 'x', [1], -1])
@pytest.mark.parametrize('mark', ['iscrowd', 'ignore'])
def test_a_mark_that_is_neither_yes_nor_no(mark, value, tmp_path, cache):
    rewrite(tmp_path, lambda c: c['annotations'][0].update({mark: value}) or c)
    text = refused(tmp_path)
    assert f'{mark} of annotation 1 is {value!r}' in text
    assert 'write 0 or 1' in text


def test_an_id_in_quotes_is_shown_in_quotes(tmp_path, cache):
    rewrite(tmp_path, lambda c: c['annotations'][0].update(category_id='2') or c)
    assert 'category_id "2", which the file does not list' in refused(tmp_path)


@pytest.mark.parametrize(
    'name', ['train_000', 'TRAIN_000.PNG', 'train_000.jpg', 'x\\train_000.JPG']
)
def test_an_image_of_nearly_the_name_is_named(name, tmp_path, cache):
    rewrite(tmp_path, lambda c: c['images'][0].update(file_name=name) or c, names=(TRAIN,))
    assert 'did you mean train2017/train_000.png?' in refused(tmp_path)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda c: json.dumps([c]), 'holds a list'),
        (str, 'the printed form of a Python dict'),
        (lambda c: b'\x1f\x8b rest', 'gzip-compressed; unpack it'),
        (lambda c: '// by hand\n' + json.dumps(c), 'does not begin like a COCO file'),
    ],
    ids=['list', 'dict', 'gzip', 'comment'],
)
def test_a_file_of_a_split_that_is_not_read_is_named(change, words, tmp_path, cache):
    text = refused(rewrite(tmp_path / 'a', change, names=(TRAIN,)))
    assert 'has no training images' in text
    assert f'{TRAIN} is not used for train: ' in text
    assert words in text
    info = find_dataset(rewrite(tmp_path / 'b', change, names=(VAL,)), progress=False)
    assert said(info, f'{VAL} is not used for val: ')
    assert said(info, 'val split made')


def test_images_to_learn_and_to_score_on(tmp_path, cache):
    write_voc(SMALL, tmp_path)
    names = tmp_path / 'ImageSets/Main/val.txt'
    names.write_text(f'train_000\n{names.read_text()}')
    (line,) = said(find_dataset(tmp_path, progress=False), 'training images, too')
    assert line.startswith('WARNING')
    assert line.endswith(': 1 (train_000.png of val)')


def test_class_names_that_look_alike_are_told(tmp_path, cache):
    paths = [
        f'{split}/{name}/{i}.png'
        for split in ('train', 'val')
        for name in ('Cat', 'cat', 'dog')
        for i in (1, 2)
    ]
    folders(*paths)(tmp_path)
    (text,) = said(find_dataset(tmp_path, progress=False), 'look alike')
    assert "'Cat', 'cat'" in text
    assert 'dog' not in text


def test_categories_that_are_longer_than_the_head_come_before_the_images(tmp_path, cache):
    def first(content):
        categories = [dict(c, synonyms=['x' * 100_000]) for c in content.pop('categories')]
        return dict(categories=categories, **content)

    assert counts(find_dataset(rewrite(tmp_path, first), progress=False))['train'] == (4, 6)


# YOLO.
def test_label_studios_notes_beside_its_yolo_are_no_coco(tmp_path, cache):
    plain = counts(find_dataset(write_yolo(SMALL, tmp_path / 'a', yaml=False), progress=False))
    write_yolo(SMALL, tmp_path / 'b', yaml=False)
    categories = [dict(id=i, name=name) for i, name in enumerate(('ape', 'cat', 'dog'))]
    notes = dict(categories=categories, info=dict(year=2024, contributor='Label Studio'))
    (tmp_path / 'b/notes.json').write_text(json.dumps(notes, indent=2))
    info = find_dataset(tmp_path / 'b', progress=False)
    assert (info.format, counts(info)) == ('yolo', plain)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('ape\ncat\ncat\n', 'the class name cat occurs twice'),
        ('ape\n\ncat\ndog\n', 'line 2 is empty'),
        ('\n', 'lists no class names'),
    ],
)
def test_files_of_names_that_are_not_certain(text, words, tmp_path, cache):
    write_yolo(SMALL, tmp_path, yaml=False)
    (tmp_path / 'classes.txt').write_text(text)
    assert words in refused(tmp_path)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('0 10 10 50 10 50 40', 'no fractions of the image; YOLO polygons'),
        ('0 .5 .5 .1 .1 .9 7', 'no fractions of the image; YOLO polygons'),
        ('0,.5,.5,.1,.1', 'spaces between'),
        ('0 0,5 0,5 0,1 0,1', "'0,5' is no number"),
        ('0 .5 .5 .1 .1 # cat', "'#' is no number"),
    ],
)
def test_lines_that_are_no_labels(text, words, tmp_path, cache):
    line(text)(tmp_path)
    assert words in refused(tmp_path)


def test_folders_in_capitals(tmp_path, cache):
    yolo('train: Images/train\nval: Images/val\nnames: [ape, cat, dog]\n')(tmp_path)
    for name in ('images', 'labels'):
        os.rename(tmp_path / name, tmp_path / name.capitalize())
    assert counts(find_dataset(tmp_path, progress=False))['train'] == (4, 6)


# Pascal VOC.
@pytest.mark.parametrize('form', ['{}.png', 'JPEGImages/{}.png', '{}', '{}  1', '{}.jpg -1'])
@pytest.mark.parametrize('name', ['train_000', 'train 000'])
def test_lists_of_images(form, name, tmp_path, cache):
    write_voc(SMALL, tmp_path)
    os.rename(tmp_path / XML, tmp_path / f'Annotations/{name}.xml')
    os.rename(tmp_path / 'JPEGImages/train_000.png', tmp_path / f'JPEGImages/{name}.png')
    path = tmp_path / 'ImageSets/Main/train.txt'
    lines = path.read_text().replace('train_000', name).splitlines()
    path.write_text(''.join(f'{form.format(n)}\n' for n in lines))
    assert counts(find_dataset(tmp_path, progress=False))['train'][0] == 4


@pytest.mark.parametrize(
    ('text', 'crowds'), [('1.0', 1), ('yes', 1), ('', 0), ('0.0', 0), ('2', 0)]
)
def test_how_difficult_is_written(text, crowds, tmp_path, cache):
    described = describe(
        {'train': [[('cat', 3, 4, 10, 20), ('cat', 30, 1, 33, 47)]], 'val': [[('cat', 5, 6, 7, 8)]]}
    )
    write_voc(described, tmp_path)
    content = (tmp_path / XML).read_text()
    (tmp_path / XML).write_text(content.replace('<difficult>0<', f'<difficult>{text}<', 1))
    info = find_dataset(tmp_path, progress=False)
    assert len(said(info, 'marked as crowd or difficult')) == crowds
    assert bool(said(info, 'neither 0 nor 1')) == (text == '2')


@pytest.mark.parametrize('prefix', ['', 'a:'])
def test_xml_with_a_namespace(prefix, tmp_path, cache):
    write_voc(SMALL, root := tmp_path / 'set')
    plain = counts(find_dataset(root, progress=False))
    for path in (root / 'Annotations').iterdir():
        content = path.read_text().replace('<', f'<{prefix}').replace(f'<{prefix}/', f'</{prefix}')
        name = f'xmlns{":" if prefix else ""}{prefix.rstrip(":")}'
        head = f'<{prefix}annotation'
        path.write_text(content.replace(head, f'{head} {name}="http://host.org/labels"', 1))
    assert counts(find_dataset(root, progress=False)) == plain
    assert plain['train'][1] > 0


def test_xml_that_begins_with_an_empty_line(tmp_path, cache):
    write_voc(SMALL, root := tmp_path / 'set')
    plain = counts(find_dataset(root, progress=False))
    for path in (root / 'Annotations').iterdir():
        text = path.read_text()
        path.write_text('\n <?xml version="1.0"?>\n' + text[text.index('<annotation') :])
    assert counts(find_dataset(root, progress=False)) == plain


# Class folders.
def in_folders(splits=('train', 'val'), names=('a', 'b'), images=4):
    return [f'{s}/{n}/{i}.png' for s in splits for n in names for i in range(images)]


@pytest.mark.parametrize(
    ('more', 'line'),
    [
        (['test/1.png', 'test/2.png'], 'no test split: its 2 images are in no class folders'),
        (['sample.png'], 'images beside the class folders, left out: 1 (sample.png)'),
        (['train/sample.png'], 'images beside the class folders, left out: 1 (train/sample.png)'),
        (['more/1.png', 'more/2.png'], 'left out: 2 (more/1.png, more/2.png)'),
        (['more/x/1.png', 'more/y/2.png'], 'left out: 2 (more/x/1.png, more/y/2.png)'),
    ],
)
def test_images_that_are_of_no_class(more, line, tmp_path, cache):
    folders(*in_folders(), *more)(tmp_path)
    info = find_dataset(tmp_path, progress=False)
    assert info.classes == ('a', 'b')
    assert counts(info) == dict(train=(8, 8), val=(8, 8))
    assert said(info, line)


def test_formats_that_are_not_read_are_told(tmp_path, cache):
    folders(*in_folders())(tmp_path)
    for name in ('train/a/x.heic', 'val/b/y.GIF'):
        (tmp_path / name).write_bytes(b'x')
    info = find_dataset(tmp_path, progress=False)
    assert said(info, 'formats that are not read, to be converted to .jpg or .png: 2')
    only = tmp_path / 'only'
    only.mkdir()
    (only / 'x.heic').write_bytes(b'x')
    assert 'to be converted to .jpg or .png: 1 (x.heic)' in refused(only)


@pytest.mark.parametrize('names', [('bus', 'train'), ('test', 'a b'), ('validation', 'x')])
def test_classes_that_are_named_like_splits(names, tmp_path, cache):
    folders(*[f'{name}/{i}.png' for name in names for i in range(6)])(tmp_path)
    assert find_dataset(tmp_path, progress=False).classes == tuple(sorted(names))


# A run beside the labels.
def run_in(folder):
    """What a training leaves in the folder of its run, with a picture that it has drawn."""
    (folder / 'vis').mkdir(parents=True)
    picture(8, 8).save(folder / 'vis/1.png')
    (folder / 'last_checkpoint').write_text('epoch_1.pth')
    (folder / 'results.json').write_text('{"config": "c.py", "annotations": "/a/val.json"}')


@pytest.mark.parametrize('write', [write_yolo, write_voc, write_coco2017])
def test_a_run_inside_the_folder_of_the_labels_is_none_of_them(write, tmp_path, cache):
    data = write(SMALL, tmp_path / 'set')
    plain = find_dataset(data, progress=False)
    run_in(data / 'work_dirs/mine')
    (data / 'results.json').write_text('{"annotations": "/a/val.json"}')
    again = find_dataset(data, progress=False)
    assert (again.format, counts(again)) == (plain.format, counts(plain))


def test_a_run_inside_class_folders_is_no_class(tmp_path, cache):
    folders(*[f'{n}/{i}.png' for n in ('a', 'b') for i in range(5)])(tmp_path)
    run_in(tmp_path / 'work_dirs/mine')
    assert find_dataset(tmp_path, progress=False).classes == ('a', 'b')
