"""What predict has written below a folder of labels is neither labels nor a class."""

import json

import pytest

from selnext_mm.datasets.formats import find_dataset
from selnext_mm.inference.output import WRITTEN
from tests.datasets.formats.bad_labels import folders
from tests.datasets.formats.writers import SMALL, write_coco2017, write_voc, write_yolo

SECOND = ('results.json', 'predictions.csv')


def predict_into(folder, second):
    """What a prediction leaves: of a detector with results.json, of a classifier with a table."""
    assert {'predictions.json', second, 'pictures'} <= set(WRITTEN)
    folders('pictures/1.jpg', 'pictures/2.jpg')(folder)
    content = dict(
        info=dict(description='predictions'),
        images=[dict(id=i, file_name=f'{i}.jpg', width=8, height=8) for i in (1, 2)],
        categories=[dict(id=1, name='circle')],
        annotations=[
            dict(id=i, image_id=i, category_id=1, bbox=[1, 1, 4, 4], score=0.9, area=16, iscrowd=0)
            for i in (1, 2)
        ],
    )
    (folder / 'predictions.json').write_text(json.dumps(content))
    (folder / second).write_text('[]')


@pytest.mark.parametrize('second', SECOND)
@pytest.mark.parametrize('place', ['predicted', 'train/predicted'])
def test_among_class_folders(second, place, tmp_path):
    folders(*(f'{s}/{c}/{i}.jpg' for s in ('train', 'val') for c in 'ab' for i in range(4)))(
        tmp_path / 'set'
    )
    predict_into(tmp_path / 'set' / place, second)
    info = find_dataset(tmp_path / 'set', progress=False)
    assert info.format == 'folders'
    assert info.classes == ('a', 'b')
    assert f'what predict has written, left out: {place}' in info.choices


@pytest.mark.parametrize('write', [write_voc, write_yolo, write_coco2017])
def test_beside_labels(write, tmp_path):
    write(SMALL, tmp_path / 'set')
    plain = find_dataset(tmp_path / 'set', progress=False)
    predict_into(tmp_path / 'set/predicted', SECOND[0])
    again = find_dataset(tmp_path / 'set', progress=False)
    assert (again.format, again.classes) == (plain.format, plain.classes)
    assert {s: v.images for s, v in again.splits.items()} == {
        s: v.images for s, v in plain.splits.items()
    }


def test_what_was_drawn_is_no_image_of_predictions_that_are_named(tmp_path):
    """To train on what another model has found, its file is named: with the images themselves."""
    folders('photos/1.jpg', 'photos/2.jpg')(tmp_path / 'set')
    predict_into(tmp_path / 'set/predicted', SECOND[0])
    info = find_dataset(tmp_path / 'set/predicted/predictions.json', progress=False)
    content = json.loads(info.splits['train'].annotations.read_text())
    place = info.splits['train'].image_root / content['images'][0]['file_name']
    assert place.parent.name == 'photos'
