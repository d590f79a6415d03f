"""``export --data``: a labelled data set calibrates, and says what is lost."""

import json
import shutil

import pytest

from selnext_mm.errors import UserError
from selnext_mm.export.detection import writer
from tests.export.detection.conftest import call
from tests.export.detection.test_export_detector import pseudo_labels


@pytest.fixture
def data(exported, pictures, tmp_path, monkeypatch):
    """A data set that the model is good at: b.png trains, the others are for the test."""
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(
        writer, 'write_detector', lambda graph, path, *rest: shutil.copy(exported.file, path)
    )
    root = tmp_path / 'data'
    for split in ('train', 'test'):
        (root / split).mkdir(parents=True)
    for path in sorted(pictures.iterdir()):
        shutil.move(path, root / ('train' if path.name == 'b.png' else 'test') / path.name)
    shutil.copy(root / 'train' / 'b.png', root / 'val.png')
    for split in ('train', 'test'):
        pseudo_labels(exported, root / split, root / split / '_annotations.coco.json')
    (root / 'val').mkdir()
    shutil.move(root / 'val.png', root / 'val' / 'c.png')
    pseudo_labels(exported, root / 'val', root / 'val' / '_annotations.coco.json')
    return root


def test_an_int8_file_of_a_data_set(exported, data, tmp_path, capsys):
    out = tmp_path / 'd.onnx'
    assert call(exported, out, '--int8', '--data', str(data), '--max-loss', '99') == 0
    text = capsys.readouterr().out
    number = len(json.loads((data / 'test' / '_annotations.coco.json').read_text())['images'])
    assert f'format coco, task masks: {data}\n' in text
    assert f'measuring on {number} image' in text
    assert f' of the test split of {data}\n' in text
    assert 'calibrated on 1 image: ' in text
    assert f'segm AP on the test split of {data}: PyTorch ' in text
    assert out.is_file()


def test_a_float_file_of_a_data_set(exported, data, tmp_path, capsys):
    out = tmp_path / 'd.onnx'
    assert call(exported, out, '--data', str(data)) == 0
    text = capsys.readouterr().out
    assert 'AP of both, on all images\n' in text
    assert out.is_file()


def test_a_data_set_of_other_classes_is_refused(exported, data, tmp_path):
    for path in data.glob('*/_annotations.coco.json'):
        path.write_text(path.read_text().replace('"circle"', '"owl"'))
    with pytest.raises(UserError, match=r'data has the classes owl, .*, the model circle, '):
        call(exported, tmp_path / 'd.onnx', '--data', str(data))
    assert not (tmp_path / 'd.onnx').exists()


def test_a_folder_that_is_not_there(exported, tmp_path):
    with pytest.raises(UserError, match=r'gone'):
        call(exported, tmp_path / 'd.onnx', '--data', str(tmp_path / 'gone'))
