"""The folder of a prediction: names of any kind, and nothing of another one."""

import json
import os

import pytest

from selnext_mm.errors import UserError
from selnext_mm.inference.images import list_images
from selnext_mm.inference.output import complete_folder, write_classes


@pytest.mark.parametrize('name', [b'caf\xe9.jpg', 'café.jpg'.encode()])
def test_any_name_of_a_file_is_written_and_can_be_read_back(name, tmp_path):
    classes = [dict(category='Bär', score=0.5, label=0)]
    write_classes(tmp_path, [dict(file=os.fsdecode(name), classes=classes)])
    (record,) = json.loads((tmp_path / 'predictions.json').read_text(encoding='utf-8'))
    assert os.fsencode(record['file']) == name
    assert name in (tmp_path / 'predictions.csv').read_bytes()


def test_what_an_earlier_prediction_left_goes(tmp_path):
    out = tmp_path / 'out'
    with complete_folder(out, False) as folder:
        for name in ('predictions.json', 'results.json', 'pictures/a.jpg'):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text('first')
    (out / 'notes.txt').write_text('mine')
    with complete_folder(out, True) as folder:
        (folder / 'frames.jsonl').write_text('second')
    assert sorted(p.name for p in out.iterdir()) == ['frames.jsonl', 'notes.txt']


def test_a_prediction_that_fails_leaves_the_earlier_one(tmp_path):
    (tmp_path / 'predictions.json').write_text('first')
    with pytest.raises(KeyError), complete_folder(tmp_path, True):
        raise KeyError
    assert (tmp_path / 'predictions.json').read_text() == 'first'


@pytest.mark.parametrize('name', ['pictures/photo.jpg', 'results.json', 'video.mp4'])
def test_files_of_the_same_names_are_not_replaced(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('mine')
    with pytest.raises(UserError, match=name.split('/')[0]), complete_folder(tmp_path, False):
        pass
    assert (tmp_path / name).read_text() == 'mine'


def test_images_that_are_looked_at_are_not_replaced(pictures):
    images = list_images(pictures)
    with (
        pytest.raises(UserError, match=r'would replace .*which holds images that are to be'),
        complete_folder(pictures.parent, True, images),
    ):
        pass
    assert (pictures / 'a.jpg').exists()
