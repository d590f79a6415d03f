"""The table of labels that cannot be used, and what the message has to say.

A case is (preparation, words of the message, arguments of ``find_dataset``). ``preparation`` fills
an empty folder; it may return the path to give in place of the folder.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

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

NAMES = 'names: [ape, cat, dog]\n'
SPLITS = 'train: images/train\nval: images/val\n'
TRAIN = 'annotations/instances_train2017.json'
XML = 'Annotations/train_000.xml'
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "lol">'
    + ''.join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    + ']><annotation><object><name>&a9;</name></object></annotation>'
)
EXTERNAL = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename>'
    '</annotation>'
)
ALIASES = 'a0: &a0 [x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 12)
)


@dataclass
class Case:
    prepare: object
    words: tuple[str, ...]
    options: dict = field(default_factory=dict)
    mistakes: int = 1


def yolo(yaml=None, **files):
    """A sound YOLO set with another data.yaml, and other files by name."""

    def prepare(folder):
        write_yolo(SMALL, folder)
        if yaml is not None:
            (folder / 'data.yaml').write_text(yaml)
        for name, text in files.items():
            put(folder / name.replace('__', '/'), text)

    return prepare


def line(text, name='train_001'):
    return yolo(**{f'labels__train__{name}.txt': text})


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def coco(change, file=TRAIN):
    """A sound COCO set whose training file ``change`` spoils."""

    def prepare(folder):
        write_coco2017(SMALL, folder)
        content = json.loads((folder / file).read_text())
        dump(change(content) or content, folder / file)

    return prepare


def coco_text(content, file=TRAIN):
    def prepare(folder):
        write_coco2017(SMALL, folder)
        put(folder / file, content)

    return prepare


def voc(xml, file=XML):
    def prepare(folder):
        write_voc(SMALL, folder)
        put(folder / file, xml)

    return prepare


def voc_change(old, new, file=XML):
    def prepare(folder):
        write_voc(SMALL, folder)
        path = folder / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return prepare


def folders(*names):
    def prepare(folder):
        for i, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(8, 8, i).save(path)

    return prepare


def remove(*names, write=write_coco2017):
    def prepare(folder):
        write(SMALL, folder)
        for name in names:
            paths = list(folder.glob(name))
            assert paths, name
            for path in paths:
                path.unlink()

    return prepare


def everything(folder):
    write_coco2017(SMALL, folder)
    write_yolo(SMALL, folder)


def broken_image(folder):
    write_voc(SMALL, folder)
    (folder / 'JPEGImages/train_001.png').write_bytes(b'no image')


def only_images(folder):
    make_images(SMALL, folder)


def other_json(content):
    def prepare(folder):
        make_images(SMALL, folder)
        dump(content, folder / 'labels.json')

    return prepare


def archive(folder):
    put(folder / 'set.zip', b'PK\x03\x04')
    return folder / 'set.zip'


def one_image(folder):
    write_yolo(describe(dict(train=[[('cat', 1, 1, 9, 9)]]), ('cat',)), folder)


def without_train(folder):
    write_yolo(SMALL, folder)
    (folder / 'data.yaml').write_text(f'val: images/val\n{NAMES}')


def other_names(folder):
    described = describe(
        dict(train=[[('WBC', 1, 1, 9, 9)]], val=[[('Wbc', 1, 1, 9, 9)]]), ('WBC', 'Wbc')
    )
    for split, content in described.items():
        content['categories'] = [
            c for c in content['categories'] if (c['name'] == 'WBC') == (split == 'train')
        ]
    write_coco2017(described, folder)


def other_names_voc(folder):
    write_voc(
        describe(dict(train=[[('WBC', 1, 1, 9, 9)]], val=[[('Wbc', 1, 1, 9, 9)]]), ('WBC', 'Wbc')),
        folder,
    )


def two_files(folder):
    content = write_coco2017(SMALL, folder) / TRAIN
    os.rename(content, folder / 'annotations/a.json')
    os.rename(folder / 'annotations/instances_val2017.json', folder / 'annotations/b.json')


def no_objects(folder):
    write_coco2017(describe(dict(train=[[], []], val=[[('cat', 1, 1, 9, 9)]]), ('cat',)), folder)


def empty_val(folder):
    write_coco2017(describe(dict(train=[[('cat', 1, 1, 9, 9)]], val=[[], []]), ('cat',)), folder)


def all_outside(folder):
    write_coco2017(
        describe(dict(train=[[('cat', 100, 100, 9, 9)]], val=[[('cat', 1, 1, 9, 9)]]), ('cat',)),
        folder,
    )


def other_kind(folder):
    write_yolo(SMALL, folder / 'set')
    folders('other/a/1.png', 'other/b/2.png')(folder)
    return folder / 'set'


def no_yaml(folder):
    write_yolo(SMALL, folder, yaml=False)
    (folder / 'classes.txt').unlink()


def two_yamls(folder):
    write_yolo(SMALL, folder)
    (folder / 'data.yaml').rename(folder / 'a.yaml')
    put(folder / 'b.yaml', (folder / 'a.yaml').read_text())


def pick(key, value, where='annotations', i=0):
    def change(content):
        content[where][i][key] = value

    return coco(change)


def without(key, where='annotations', i=0):
    def change(content):
        del content[where][i][key]

    return coco(change)


def twice(where):
    def change(content):
        content[where].append(dict(content[where][0]))

    return change


def same_file(content):
    content['images'][1]['file_name'] = content['images'][0]['file_name']


def long_names(folder):
    put(folder / 'data.yaml', 'names: [' + 'a, ' * 2_000_000 + ']')


TABLE = {
    # Nothing there, or not what is meant.
    'no such folder': Case(lambda f: f / 'none', ('none', 'no such file or folder')),
    'an empty folder': Case(lambda f: None, ('no labels found', '0 images', 'Looked for COCO')),
    'images alone': Case(only_images, ('no labels found', '6 images', 'Looked for COCO')),
    'an archive': Case(archive, ('set.zip', 'unpack it')),
    'an unknown format': Case(
        yolo(), ("'tfrecord'"[1:-1], 'choose from coco'), dict(format='tfrecord')
    ),
    'another format than asked for': Case(
        yolo(),
        ('no labels found', 'as voc', 'the labels look like yolo: leave out --format'),
        dict(format='voc'),
    ),
    'COCO asked of Pascal VOC': Case(
        lambda f: write_voc(SMALL, f),
        ('no labels found', 'as coco', 'the labels look like voc: leave out --format'),
        dict(format='coco'),
    ),
    'a format asked of nothing': Case(
        only_images, ('as coco: 6 images', 'leave out --format'), dict(format='coco')
    ),
    'a file of another format': Case(
        lambda f: put(f / 'a.yaml', 'names: [a]') or f / 'a.yaml',
        ('a.yaml cannot be read as voc', 'leave out --format'),
        dict(format='voc'),
    ),
    'class folders asked of Pascal VOC': Case(
        lambda f: write_voc(SMALL, f), ('leave out --format',), dict(format='folders')
    ),
    'a text file': Case(lambda f: put(f / 'a.txt', 'x') or f / 'a.txt', ('a.txt', 'data.yaml')),
    'LabelMe': Case(
        other_json(dict(version='5', shapes=[], imagePath='a.jpg')), ('labels.json', 'labelme2coco')
    ),
    'tasks of Label Studio': Case(other_json([dict(id=1)]), ('labels.json', 'export the labels')),
    "CVAT's own XML": Case(
        lambda f: (only_images(f), put(f / 'annotations.xml', '<annotations></annotations>'))[0],
        ('annotations.xml', 'CVAT', 'export the labels'),
    ),
    'mixed formats': Case(
        everything, ('several formats', 'coco (annotations/', 'yolo (data.yaml)', '--format coco')
    ),
    'several files without a split': Case(
        two_files, ('2 annotation files', 'annotations/a.json', 'give one of the files')
    ),
    'no training images': Case(without_train, ('no training images, only val',)),
    'validation on nothing': Case(yolo(), ('--val nowhere', 'no such folder'), dict(val='nowhere')),
    'validation on everything': Case(yolo(), ('--val 1.5', 'between 0 and 1'), dict(val=1.5)),
    'validation on none': Case(yolo(), ('--val 0', 'between 0 and 1'), dict(val=0)),
    'validation on nan': Case(yolo(), ('--val nan', 'between 0 and 1'), dict(val='nan')),
    'a single image': Case(one_image, ('leaves nothing for training', '--val DIR')),
    'classes to validate boxes': Case(
        other_kind, ('folders', 'yolo', 'one is for classification'), dict(val='OTHER')
    ),
    # COCO.
    'JSON cut': Case(coco_text('{"images": [{"id": 1,'), (TRAIN, 'truncated')),
    'JSON broken': Case(coco_text('{"images": [1,,2], "a": 1}'), (TRAIN, 'not JSON', 'line 1')),
    'JSON in UTF-16': Case(
        lambda f: put(f / 'mine.json', '{"images": []}'.encode('utf-16')),
        ('mine.json', 'lacks annotations, categories'),
    ),
    'JSON nested deep': Case(
        coco_text('{"images": ' + '[' * 100_000 + ']' * 100_000 + '}'), (TRAIN, 'not JSON')
    ),
    'no images': Case(coco(lambda c: dict(c, images=[])), (TRAIN, 'lists no images; export')),
    'no categories': Case(coco(lambda c: dict(c, categories=None)), (TRAIN, 'categories')),
    'images missing': Case(
        remove('train2017/train_00[01].png'),
        ('2 of 4 images', 'train_000.png, train_001.png', 'put them there'),
    ),
    'all images missing': Case(
        remove('*2017/*.png'), ('4 of 4 images', 'train_000.png', 'and 1 more'), mistakes=2
    ),
    'an image id twice': Case(coco(twice('images')), ('1 image ids twice (1)', 'id of its own')),
    'an annotation id twice': Case(
        coco(twice('annotations')), ('1 annotation id twice (1)', 'number the annotations')
    ),
    'a category id twice': Case(pick('id', 2, 'categories'), ('category id 2 more than once',)),
    'a category name twice': Case(
        pick('name', 'cat', 'categories'), ('category name cat more than once',)
    ),
    'a category without a name': Case(without('name', 'categories'), ('no id or no name',)),
    'an image without a name': Case(without('file_name', 'images'), ('no id or no file_name',)),
    'an image that is a number': Case(
        coco(lambda c: c['images'].append(7)), ('the image record 7',)
    ),
    'an annotation that is a number': Case(
        coco(lambda c: c['annotations'].append(7)), ('the annotation 7',)
    ),
    'a list as image id': Case(pick('image_id', [1]), ('image_id [1]', 'does not list')),
    'an unknown image': Case(pick('image_id', 77), ('1 annotation has the image_id 77',)),
    'an image id in quotes': Case(pick('image_id', '1'), ('1 annotation has the image_id',)),
    'an unknown category': Case(pick('category_id', 9), ('category_id 9', 'does not list')),
    'one file as two images': Case(coco(same_file), ('1 file as several images', 'train_000')),
    'another size than labelled': Case(
        pick('width', 640, 'images'),
        ('1 of 4 images', 'train_000.png is 64 x 48, labelled 640 x 48', 'misplaced'),
    ),
    'no objects': Case(
        no_objects, ('no labels found', '2 training images', 'learnt; label them, or name the')
    ),
    'all objects outside': Case(all_outside, ('no labels found', 'outside their image', '1')),
    'an empty validation split': Case(empty_val, ('the val split is empty', '--val 0.2')),
    'other class names in val': Case(
        other_names, ('differ between the splits', "'Wbc'", "did you mean 'WBC'?")
    ),
    # YOLO.
    'YAML broken': Case(yolo('train: [a\nval: b'), ('data.yaml, line 2', 'not YAML')),
    'YAML with a tab': Case(yolo('train:\n\t- a'), ('data.yaml, line 2', 'not YAML')),
    'YAML that makes objects': Case(
        yolo('train: a\nnames: !!python/object/apply:os.system ["touch planted"]'),
        ('data.yaml, line 2', 'not YAML that is read here', 'python/object'),
    ),
    'YAML by tuples': Case(yolo('names: !!python/tuple [a]\ntrain: a'), ('python/tuple',)),
    'a bomb of YAML aliases': Case(yolo(ALIASES + SPLITS + NAMES), ('data.yaml, line 2', 'alias')),
    'YAML nested deep': Case(yolo('a: ' + '[' * 50_000), ('data.yaml', 'nested too deep')),
    'YAML of many MB': Case(long_names, ('data.yaml is 5 MB large', 'right file')),
    'YAML with a list': Case(yolo('- a\n- b\n'), ('data.yaml', 'no mapping')),
    'YAML in Latin-1': Case(
        lambda f: put(f / 'data.yaml', 'names: [\xe4ffe]'.encode('latin-1')),
        ('not a text file', 'save it as UTF-8'),
    ),
    'names missing': Case(yolo(f'{SPLITS}nc: 3\n'), ('data.yaml', 'no list of class names')),
    'names of another number': Case(
        yolo(f'{SPLITS}nc: 2\n{NAMES}'), ('nc is 2', 'names has 3 entries')
    ),
    'a name twice': Case(yolo(f'{SPLITS}names: [ape, cat, ape]\n'), ('ape occurs twice',)),
    'a name that is a list': Case(yolo(f'{SPLITS}names: [ape, [cat], dog]\n'), ("['cat']",)),
    'names by words': Case(yolo(f'{SPLITS}names: {{ape: 0, cat: 1}}\n'), ('no number',)),
    'names by huge numbers': Case(
        yolo(f'{SPLITS}names: {{0: ape, 99999999999: cat}}\n'), ('99999999999',)
    ),
    'a path that is not there': Case(
        yolo(f'train: pictures/train\nval: images/val\n{NAMES}'),
        ('train: pictures/train is not there', 'Correct the path'),
    ),
    'a folder without images': Case(
        yolo(f'train: labels/train\nval: images/val\n{NAMES}'), ('labels/train holds no images',)
    ),
    'a list with missing images': Case(
        yolo(f'train: train.txt\nval: images/val\n{NAMES}', **{'train.txt': './images/a.png\n'}),
        ('1 of 1 images', 'train.txt', './images/a.png'),
    ),
    'no label files': Case(
        remove('labels/train/*', write=write_yolo),
        ('no image of train has a label file', 'labels/train/train_000.txt'),
    ),
    'no names anywhere': Case(no_yaml, ('neither data.yaml nor classes.txt',)),
    'two YAML files': Case(two_yamls, ('a.yaml, b.yaml', 'give one of them')),
    'an unknown class number': Case(
        line('3 0.5 0.5 0.1 0.1'), ('train_001.txt, line 1', 'class 3', '0 to 2')
    ),
    'a class below zero': Case(line('-1 0.5 0.5 0.1 0.1'), ('train_001.txt, line 1', 'class -1')),
    'a class that is a fraction': Case(line('0.5 0.5 0.5 0.1 0.1'), ('line 1', 'class 0.5')),
    'a class in words': Case(line('cat 0.5 0.5 0.1 0.1'), ('train_001.txt, line 1', "'cat'")),
    'pixels in place of fractions': Case(
        line('0 0.5 0.5 0.1 0.1\n\n1 32 24 10 10'), ('line 3', '32 24 10 10', 'no fractions')
    ),
    'a line with commas': Case(line('0,0.5,0.5,0.1,0.1'), ('train_001.txt, line 1',)),
    'a line too short': Case(line('0 0.5 0.5'), ('line 1', '2 numbers behind the class')),
    'a line of an odd number': Case(
        line('0 .1 .1 .2 .2 .3 .3 .4'), ('line 1', '7 numbers behind the class', 'polygon')
    ),
    'a number that is none': Case(line('0 0.5 nan 0.1 0.1'), ('line 1', 'not finite')),
    'a label file in UTF-16': Case(
        line('0 0.5 0.5 0.1 0.1'.encode('utf-16')), ('train_001.txt', 'UTF-16')
    ),
    'a label file of bytes': Case(line(b'\x80\x81'), ('train_001.txt', 'save it as UTF-8')),
    # Pascal VOC.
    'XML cut': Case(voc('<annotation><object>'), (XML, 'not XML that can be read')),
    'XML empty': Case(voc(''), (XML, 'not XML that can be read')),
    'XML by bytes': Case(voc(b'<annotation>\xff\xfe</annotation>'), (XML, 'not XML')),
    'a bomb of XML entities': Case(voc(BOMB), (XML, '<!DOCTYPE', 'remove it')),
    'XML that reads files': Case(voc(EXTERNAL), (XML, '<!DOCTYPE')),
    'XML with a document type': Case(
        voc('<!DOCTYPE annotation SYSTEM "http://x.org/a.dtd"><annotation/>'), ('<!DOCTYPE',)
    ),
    'XML in UTF-16 with a bomb': Case(
        voc(BOMB.replace('"1.0"', '"1.0" encoding="UTF-16"').encode('utf-16')), ('<!DOCTYPE',)
    ),
    'XML of an unknown encoding': Case(
        voc('<?xml version="1.0" encoding="klingon"?><annotation/>'), (XML, 'not XML')
    ),
    'an object without a box': Case(
        voc_change('<bndbox>', '<box>'.replace('box', 'bndbox') + '<x>', XML), (XML, 'not XML')
    ),
    'a box without a corner': Case(
        voc_change('<ymin>5</ymin>', ''), (XML, "'cat'", 'no <bndbox> of four numbers')
    ),
    'a box in words': Case(voc_change('<ymin>5<', '<ymin>five<'), (XML, 'four numbers', 'five')),
    'a box of nan': Case(voc_change('<ymin>5<', '<ymin>nan<'), (XML, 'nan', 'correct it')),
    'an object without a name': Case(voc_change('<name>cat</name>', ''), (XML, 'no <name>')),
    'a listed image without labels': Case(
        remove(XML, write=write_voc), ('1 of 4 images', 'train.txt', 'train_000')
    ),
    'labels without an image': Case(
        remove('JPEGImages/train_00[02].png', write=write_voc),
        ('2 of 4 labelled images', 'train_000, train_002', 'JPEGImages/'),
    ),
    'an empty list': Case(
        voc('\n', 'ImageSets/Main/val.txt'), ('val.txt lists no images', 'is made')
    ),
    'an image that is none': Case(
        broken_image, ('1 of 4 images', 'train_001.png is not an image', 'fetch them again')
    ),
    'other class names of Pascal VOC': Case(
        other_names_voc, ('differ between the splits', "'Wbc'", "did you mean 'WBC'?")
    ),
    # Class folders.
    'other class folders in val': Case(
        folders('train/cat/1.png', 'train/dog/2.png', 'val/cat/3.png', 'val/dogs/4.png'),
        ('differ between the splits', 'dogs', 'cat, dog'),
    ),
    'an empty class split': Case(
        lambda f: (
            folders('train/cat/1.png', 'train/dog/2.png', 'val/cat/3.png')(f),
            Path(f, 'val/cat/3.png').rename(f / 'val/cat/3.txt'),
        )[0],
        ('the val split is empty', 'is made'),
    ),
    'one class in splits': Case(
        folders(*(f'{s}/cat/{s}{i}.png' for s in ('train', 'val') for i in range(3))),
        ('one class only', 'are all of cat', 'add a folder for each other class', 'label boxes'),
    ),
    'one class in a training folder': Case(
        folders(*(f'train/cat/{i}.png' for i in range(6))), ('one class only', 'all of cat')
    ),
    'one class without splits': Case(
        folders(*(f'set/cat/{i}.png' for i in range(6))),
        ('no labels found', 'in the one folder set/cat/', 'two or more, one for each class'),
    ),
    'one class as class folders': Case(
        folders(*(f'cat/{i}.png' for i in range(6))),
        ('no class folders but one (cat)',),
        dict(format='folders'),
    ),
    'no class folders': Case(only_images, ('no class folders',), dict(format='folders')),
}
