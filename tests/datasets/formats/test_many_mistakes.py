"""Mistakes in several label files are told at once."""

import pytest

from selnext_mm.datasets.formats import find_dataset
from selnext_mm.datasets.formats.faults import SHOWN
from selnext_mm.errors import UserError
from tests.datasets.formats.writers import (
    SMALL,
    describe,
    dump,
    picture,
    write_coco2017,
    write_voc,
    write_yolo,
)


def message(folder, **options):
    with pytest.raises(UserError) as caught:
        find_dataset(folder, **options)
    return str(caught.value)


def test_of_pascal_voc(tmp_path):
    """A missing image, a broken XML file, a box without numbers, an image that is none."""
    write_voc(SMALL, tmp_path)
    xml = sorted((tmp_path / 'Annotations').glob('train_*.xml'))
    (tmp_path / 'JPEGImages' / f'{xml[0].stem}.png').unlink()
    xml[1].write_text('<annotation>')
    xml[3].write_text(xml[3].read_text().replace('<xmin>', '<xmin>a', 1))
    (tmp_path / 'JPEGImages' / 'val_000.png').write_text('no image')
    lines = message(tmp_path).splitlines()
    assert lines[0] == '4 mistakes in the labels:'
    assert len(lines) == 5
    for line, words in zip(
        lines[1:],
        (
            'are missing (train_000)',
            'train_001.xml is not XML',
            'train_003.xml: the obj',
            'val_000',
        ),
        strict=True,
    ):
        assert line.startswith('- ')
        assert words in line


def test_of_yolo_in_all_splits_with_as_many_lines_as_fit(tmp_path):
    image = [('cat', 3, 4, 10, 20)]
    write_yolo(describe({'train': [image] * 8, 'val': [image] * 6}), tmp_path)
    labels = sorted(tmp_path.rglob('labels/*/*.txt'))
    assert len(labels) == 14 > SHOWN
    for path in labels:
        path.write_text('7 0.5 0.5 0.1 0.1\n')
    lines = message(tmp_path).splitlines()
    assert lines[0] == f'{len(labels)} mistakes in the labels:'
    assert all('line 1: class 7' in line for line in lines[1 : SHOWN + 1])
    assert lines[SHOWN + 1] == f'- and {len(labels) - SHOWN} more'
    assert len(lines) == SHOWN + 2


def test_of_coco_files(tmp_path):
    write_coco2017(SMALL, tmp_path)
    for split in ('train', 'val'):
        path = tmp_path / 'annotations' / f'instances_{split}2017.json'
        content = SMALL[split]
        first = dict(content['annotations'][0], bbox=['a'])
        dump(dict(content, annotations=[first, *content['annotations'][1:]]), path)
    lines = message(tmp_path).splitlines()
    assert lines[0] == '2 mistakes in the labels:'
    assert ['train2017.json' in lines[1], 'val2017.json' in lines[2]] == [True, True]


def test_a_name_cannot_add_lines(tmp_path):
    write_voc(SMALL, tmp_path)
    xml = sorted((tmp_path / 'Annotations').glob('train_*.xml'))
    for path in xml[:2]:
        path.write_text(path.read_text().replace('<xmin>', '<xmin>a', 1))
    for path, name in zip(xml[:2], ('a\nb', 'c\x1b[2J'), strict=True):
        path.rename(path.with_name(f'{name}.xml'))
        picture().save(tmp_path / 'JPEGImages' / f'{name}.png')
    for path in (tmp_path / 'ImageSets' / 'Main').glob('*.txt'):
        path.unlink()
    text = message(tmp_path)
    assert text.count('\n') == 2
    assert '\x1b' not in text
