"""A checkpoint as the server asks it: the answers of ``predict``, whoever else is in the batch."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from selnext_mm.checkpoints.hub import sha256
from selnext_mm.errors import UserError
from selnext_mm.inference import ServedPredictor, predict
from selnext_mm.inference.served import check_reading
from selnext_mm.runtime.pictures import read_picture

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
WEIGHTS = Path(__file__).resolve().parents[2] / 'weights'
CELLS = WEIGHTS / 'bccd_selnext_yocto'


@pytest.fixture
def kept_threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def served(model, **options):
    return ServedPredictor(model.config, model.checkpoint, device='cpu', **options)


def ask(model, *pictures):
    inputs = [model.prepare(pixels) for pixels in pictures]
    assert all(x.pixels is None for x in inputs), 'the full-size image does not wait'
    return model.find_prepared(inputs, [pixels.shape[:2] for pixels in pictures])


@pytest.mark.parametrize('name', ['detector', 'classifier'])
def test_an_image_alone_gets_the_numbers_of_predict(name, pictures, request):
    files = request.getfixturevalue(name)
    model = served(files)
    assert model.part == name
    records = predict(files.config, files.checkpoint, pictures / 'sub', device='cpu', batch_size=1)
    for record in records:
        (found,) = ask(model, read_picture(record['path']))
        assert found == record[model.key]
        assert found


def test_images_in_a_batch_keep_their_own_results():
    model = ServedPredictor(CELLS, CELLS, device='cpu')
    photo = read_picture(WEIGHTS / 'blood_cells.jpg')
    images = [photo, photo[:, ::-1], photo[:, :400], photo[::-1], photo[60:, :400], photo[:, 240:]]
    assert len({model.prepare(image).shape for image in images}) > 1
    together = ask(model, *images)
    assert len({found[0]['score'] for found in together}) == len(images)
    for image, found in zip(images, together, strict=True):
        best, (own, *_) = found[0], ask(model, image)[0]
        assert best['label'] == own['label']
        assert best['score'] == pytest.approx(own['score'], abs=1e-4)
        assert best['bbox'] == pytest.approx(own['bbox'], abs=0.01)


def test_a_detector_is_described(detector):
    model = served(detector)
    assert (model.path, model.runtime, model.thresholds) == (
        detector.checkpoint, 'PyTorch on cpu', None
    )  # fmt: skip
    assert json.loads(model.metadata['category_ids']) == [1, 2, 3, 4, 5, 6]
    assert float(model.metadata['score_threshold']) == detector.cfg.model.test_cfg.rcnn.score_thr
    assert model.metadata['checkpoint_sha256'] == sha256(detector.checkpoint)


def test_a_classifier_is_described(classifier, pictures):
    model = served(classifier, top_k=2)
    assert set(model.metadata) == {'checkpoint_sha256'}
    assert len(ask(model, read_picture(pictures / 'a.jpg'))[0]) == 2


def test_threads_are_those_of_the_thread_that_runs_the_model(classifier, kept_threads):
    model = served(classifier, threads=1)
    step, seen = model.predictor.loaded.model.test_step, []

    def spy(data):
        seen.append(torch.get_num_threads())
        return step(data)

    model.predictor.loaded.model.test_step = spy
    worker = threading.Thread(target=ask, args=(model, np.zeros((40, 40, 3), np.uint8)))
    worker.start()
    worker.join()
    assert seen == [1]
    with pytest.raises(UserError, match='threads=0; expected 1 or more'):
        served(classifier, threads=0)


@pytest.mark.parametrize(
    ('kind', 'given', 'text'),
    [
        ('LoadImageFromFile', dict(color_type='grayscale'), 'c.py reads .*color_type=grayscale'),
        ('LoadImageFromFile', dict(imdecode_backend='pillow'), 'imdecode_backend=cv2 alone'),
        ('LoadMultiChannelImageFromFiles', {}, 'one colour image per request'),
    ],
)
def test_a_pipeline_that_reads_in_another_way_is_refused(kind, given, text):
    known = dict(color_type='color', imdecode_backend='cv2')
    check_reading(type('LoadImageFromFile', (SimpleNamespace,), {})(**known), 'c.py')
    with pytest.raises(UserError, match=text):
        check_reading(type(kind, (SimpleNamespace,), {})(**known | given), 'c.py')


def test_a_grey_pipeline_is_refused_before_the_server_starts(detector):
    step = {'test_dataloader.dataset.pipeline.0.color_type': 'grayscale'}
    with pytest.raises(UserError, match=r'config\.py reads images with color_type=grayscale'):
        served(detector, options=step)
