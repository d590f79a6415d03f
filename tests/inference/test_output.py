"""Predictions of images whose names are not UTF-8."""

import json
import os

import pytest

from selnext_mm.inference.output import write_classes


@pytest.mark.parametrize('name', [b'caf\xe9.jpg', 'café.jpg'.encode()])
def test_any_name_of_a_file_is_written_and_can_be_read_back(name, tmp_path):
    classes = [dict(category='Bär', score=0.5, label=0)]
    write_classes(tmp_path, [dict(file=os.fsdecode(name), classes=classes)])
    (record,) = json.loads((tmp_path / 'predictions.json').read_text(encoding='utf-8'))
    assert os.fsencode(record['file']) == name
    assert name in (tmp_path / 'predictions.csv').read_bytes()
