"""``selnext-mm serve`` of a checkpoint: the answers of ``predict``, to those who asked."""

import io
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from selnext_mm.cli.predict import main as predict
from selnext_mm.serve.limits import Limits
from tests.serve.echo import ask, create_app, png, post, served_by_command, serving

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
ROOT = Path(__file__).resolve().parents[2]
CELLS = ROOT / 'weights/bccd_selnext_yocto'
PHOTO = ROOT / 'weights/blood_cells.jpg'


@pytest.fixture(scope='module')
def cells():
    """(process, port, what it printed) of ``selnext-mm serve weights/bccd_selnext_yocto``."""
    with served_by_command('weights/bccd_selnext_yocto --device cpu', ROOT) as server:
        yield server


def jpeg(picture) -> bytes:
    file = io.BytesIO()
    picture.save(file, 'JPEG', quality=95)
    return file.getvalue()


@pytest.mark.integration
def test_the_server_answers_as_predict(cells, tmp_path):
    _, port, printed = cells
    assert printed.startswith('detector weights/bccd_selnext_yocto by PyTorch on cpu, 3 classes\n')
    words = [str(CELLS), str(PHOTO), '--out', str(tmp_path / 'found'), '--no-pictures']
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the server: sums are rounded in another way with two
    try:
        assert predict([*words, '--device', 'cpu']) == 0
    finally:
        torch.set_num_threads(threads)
    results = json.loads((tmp_path / 'found/results.json').read_text())
    status, content = post(port, PHOTO.read_bytes(), 'image/jpeg', '/predict?score_thr=0')
    assert (status, content['image']) == (200, dict(width=640, height=480))
    names = ('category_id', 'bbox', 'score')
    assert [{k: a[k] for k in names} for a in content['annotations']] == [
        {k: r[k] for k in names} for r in results
    ]
    about = json.loads(ask(port, path='/model')[2])
    assert (about['name'], about['runtime']) == ('bccd_selnext_yocto', 'PyTorch on cpu')
    assert (about['category_ids'], about['score_threshold']) == ([1, 2, 3], 0.05)


@pytest.mark.integration
def test_many_who_ask_at_once_get_their_own_answers(cells):
    """24 parts of an image, 8 at a time: of two shapes as the model takes them."""
    _, port, _ = cells
    photo = Image.open(PHOTO)
    sides = [(400 + 8 * (i % 5), 300 + 6 * (i % 5)) for i in range(24)]
    corners = [(10 * i % 200, 7 * i % 150) for i in range(24)]
    parts = [
        jpeg(photo.crop((x, y, x + w, y + h)).resize((w, h) if i % 2 else (h, w)))
        for i, ((w, h), (x, y)) in enumerate(zip(sides, corners, strict=True))
    ]
    alone = [post(port, part, 'image/jpeg') for part in parts]
    assert len({a[1]['annotations'][0]['score'] for a in alone}) == len(parts)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda part: post(port, part, 'image/jpeg'), parts))
    for (status, content), (_, expected) in zip(answers, alone, strict=True):
        assert (status, content['image']) == (200, expected['image'])
        best, own = content['annotations'][0], expected['annotations'][0]
        assert best['category'] == own['category']
        assert best['score'] == pytest.approx(own['score'], abs=1e-4)
        assert best['bbox'] == pytest.approx(own['bbox'], abs=0.01)
    metrics = ask(port, path='/metrics')[2].decode()
    alone_in_batch, batches = (
        float(re.search(rf'^selnext_mm_batch_pictures_{name} (\S+)', metrics, re.M)[1])
        for name in (r'bucket\{le="1\.0"\}', 'count')
    )
    assert alone_in_batch < batches, 'some ran together'


@pytest.mark.integration
def test_the_server_stops_when_told(cells):
    process, port, _ = cells
    assert json.loads(ask(port)[2]) == dict(status='ok', waiting=0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)
    assert 'Traceback' not in process.stderr.read()


def test_masks_and_classes_have_the_form_of_exported_files(detector, classifier):
    from selnext_mm.inference import ServedPredictor

    # A hundred masks on a busy machine take longer than a client would wait.
    served = ServedPredictor(detector.config, detector.checkpoint, threads=1)
    with serving(create_app(served, Limits(seconds=300))) as port:
        status, content = post(port, png(60, 40), path='/predict?score_thr=0')
        assert (status, [*content]) == (200, ['image', 'annotations'])
        first = content['annotations'][0]
        assert set(first) == {
            'id', 'category_id', 'category', 'label', 'score', 'bbox', 'segmentation'
        }  # fmt: skip
        assert first['segmentation']['size'] == [40, 60]
        status, headers, body = ask(port, 'POST', '/picture', png(60, 40), 'image/png')
        assert (status, headers['content-type']) == (200, 'image/jpeg')
        assert Image.open(io.BytesIO(body)).size == (480, 320)
    model = ServedPredictor(classifier.config, classifier.checkpoint, top_k=3)
    with serving(create_app(model, token='secret')) as port:
        assert post(port, png())[0] == 401
        status, content = post(port, png(), headers={'Authorization': 'Bearer secret'})
        assert (status, [*content]) == (200, ['image', 'classes'])
        assert [set(c) for c in content['classes']] == [{'category', 'label', 'score'}] * 3
    with serving(create_app(model)) as port:
        status, content = post(port, png(), path='/predict?score_thr=0.5')
        assert (status, 'it is for detectors' in content['detail']) == (422, True)
