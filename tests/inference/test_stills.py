"""Images through a model into a folder, from Python."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from selnext_mm import UserError
from selnext_mm.__main__ import main
from selnext_mm.inference import Predictor
from selnext_mm.inference.categories import find_ids
from selnext_mm.inference.images import list_images
from selnext_mm.inference.stills import predict_images
from tests.serve.echo import write_echo

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')


def test_records_files_and_unreadable_images_are_told(detector, pictures, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (pictures / 'broken.jpg').write_bytes(b'no image')
    predictor = Predictor(detector.config, detector.checkpoint, device='cpu')
    ids = find_ids(predictor.loaded.cfg, predictor.classes)
    images, done, unreadable = list_images([pictures]), [], []
    found = predict_images(
        *(predictor, images, out, ids, 0.3),
        on_image=lambda: done.append(1),
        on_unreadable=unreadable.append,
    )
    assert len(done) == len(images) == len(found.records) + 1
    assert [record['file'] for record in unreadable] == ['broken.jpg']
    assert found.unreadable == unreadable
    written = json.loads((out / 'predictions.json').read_text())
    assert [r['file_name'] for r in written['images']] == [r['file'] for r in found.records]
    assert {'predictions.json', 'results.json'} == set(found.files)
    assert len(list((out / 'pictures').rglob('*.*'))) == len(found.records)


def test_sixteen_bits_that_are_black_to_the_model_are_named(detector, tmp_path, capsys):
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name, largest in (('sensor.png', 4095), ('whole.png', 65535)):
        pixels = np.linspace(0, largest, 64 * 64).astype(np.uint16).reshape(64, 64)
        Image.fromarray(pixels).save(folder / name)
    Image.new('RGB', (64, 64)).save(folder / 'night.png')  # 8 bits, and rightly black
    files = [str(detector.config), str(detector.checkpoint), str(folder)]
    assert main(['predict', *files, '--out', str(tmp_path / 'out'), '--no-pictures']) == 0
    said = capsys.readouterr().err
    start = '1 image has 16 bits, of which the model sees the upper 8: all but black'
    assert f'{start} ({folder}' in said
    assert 'sensor.png). Scale them' in said


def test_nothing_readable_is_an_error_and_writes_nothing(detector, tmp_path):
    bad, out = tmp_path / 'bad', tmp_path / 'out'
    for folder in (bad, out):
        folder.mkdir()
    (bad / 'a.png').write_bytes(b'')
    predictor = Predictor(detector.config, detector.checkpoint, device='cpu')
    ids = find_ids(predictor.loaded.cfg, predictor.classes)
    with pytest.raises(UserError, match='the image cannot be read; nothing was written'):
        predict_images(predictor, list_images([bad]), out, ids, 0.3)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP'])
def test_who_stops_it_finds_nothing_half_written(name, pictures, tmp_path, monkeypatch):
    if not hasattr(signal, name):
        pytest.skip(f'this system has no {name}')
    pytest.importorskip('onnxruntime')
    from selnext_mm.runtime import Detector

    model, record = write_echo(tmp_path / 'echo.onnx'), Detector._record

    def stopped(self, pixels):
        os.kill(os.getpid(), getattr(signal, name))
        return record(self, pixels)

    monkeypatch.setattr(Detector, '_record', stopped)
    before = set(tmp_path.iterdir())
    assert main(['predict', str(model), str(pictures), '--out', str(tmp_path / 'out')]) == 130
    assert set(tmp_path.iterdir()) == before
