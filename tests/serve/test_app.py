"""Answers and refusals of the server, over HTTP."""

import asyncio
import io
import json
import re
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selnext_mm.errors import UserError
from selnext_mm.serve import Limits
from selnext_mm.serve.batches import Batches
from selnext_mm.serve.limits import RefusedError
from selnext_mm.serve.places import Places
from tests.serve.echo import ask, create_app, png, post, serving, write_echo


def test_a_picture_gives_coco_like_json(port):
    status, content = post(port, png(40, 30, 102))
    assert status == 200
    assert content['image'] == dict(width=40, height=30)
    (found,) = content['annotations']
    assert (found['category_id'], found['category'], found['bbox']) == (7, 'ant', [0, 0, 40, 30])
    assert found['score'] == pytest.approx(0.4, abs=1e-3)
    assert post(port, png(grey=102), path='/predict?score_thr=0.41')[1]['annotations'] == []


def test_the_scores_of_the_file_count_where_no_other_is_asked_for(tmp_path):
    import onnx

    from selnext_mm.runtime import Detector

    content = onnx.load(write_echo(tmp_path / 'e.onnx'))
    content.metadata_props.add(key='class_thresholds', value='[0.45, null]')
    onnx.save(content, tmp_path / 'e.onnx')
    with serving(create_app(Detector(tmp_path / 'e.onnx', threads=1))) as port:
        counts = [
            len(post(port, png(grey=grey), path=path)[1]['annotations'])
            for grey, path in ((102, '/predict'), (128, '/predict'), (102, '/predict?score_thr=0'))
        ]
        assert counts == [0, 1, 1]
        assert json.loads(ask(port, path='/model')[2])['class_thresholds'] == [0.45, 0.3]
        picture = [
            np.asarray(
                Image.open(io.BytesIO(ask(port, 'POST', path, png(grey=102), 'image/png')[2]))
            )
            for path in ('/picture', '/picture?score_thr=0.3')
        ]
        assert picture[0].std() < 1 < 5 < picture[1].std(), 'a box is drawn in the second alone'


def test_an_annotated_picture_is_a_jpeg(port):
    status, headers, body = ask(port, 'POST', '/picture', png(40, 30), 'image/png')
    assert (status, headers['content-type']) == (200, 'image/jpeg')
    drawn = np.asarray(Image.open(io.BytesIO(body)))
    assert drawn.shape[:2] == (360, 480)
    assert drawn.std() > 5, 'a box and a label on one grey'


def test_a_lying_picture_is_turned(port):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new('RGB', (40, 30), 'white').save(file, 'JPEG', exif=exif)
    assert post(port, file.getvalue(), 'image/jpeg')[1]['image'] == dict(width=30, height=40)


def bomb(side=100_000):
    """A few hundred bytes that say they are an image of 10 000 megapixels."""

    def chunk(kind, data):
        crc = struct.pack('>I', zlib.crc32(kind + data))
        return struct.pack('>I', len(data)) + kind + data + crc

    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize(
    ('body', 'kind', 'path', 'status', 'text'),
    [
        (bytes(20_001), 'image/png', '/predict', 413, 'more than 20000 bytes'),
        (png(400, 300), 'image/png', '/predict', 413, '400 x 300 pixels; at most 100000'),
        (bomb(), 'image/png', '/predict', 413, 'at most 100000|more than 100000 pixels'),
        (png(), 'text/plain', '/predict', 415, 'Content-Type text/plain; send'),
        (png(), None, '/predict', 415, 'Content-Type is missing'),
        (b'<svg/>', 'image/png', '/predict', 415, 'not an image of a supported format'),
        (png()[:60], 'image/png', '/predict', 422, 'cannot be decoded'),
        (b'', 'image/png', '/predict', 422, 'the body is empty'),
        (png(3000, 2), 'image/png', '/predict', 422, '3000 x 2 pixels: one side is more than'),
        (png(), 'image/png', '/predict?score_thr=2', 422, 'score_thr: Input should be less'),
        (png(), 'image/png', '/picture?score_thr=nan', 422, 'score_thr'),
        (
            png(),
            'image/png',
            '/predict?score_threshold=0.9',
            422,
            'no such parameter; known: score_thr',
        ),
        (
            png(),
            'image/png',
            '/picture?score_thr=0.2&top_k=1',
            422,
            'query.top_k: no such parameter',
        ),
        (png(), 'image/png', '/predict?score_thr=0&score_thr=1', 422, 'score_thr: given 2 times'),
        (png(), 'image/png', '/predict?%0Ax=', 422, 'no such parameter'),
    ],
)
def test_what_is_refused_is_told(body, kind, path, status, text, port):
    found = post(port, body, kind, path)
    assert found[0] == status, found
    assert re.search(text, found[1]['detail']), found


def test_a_body_without_a_length_is_not_read_beyond_its_limit(port):
    parts = (bytes(4096) for _ in range(100))
    status, content = post(port, parts)
    assert status == 413, content


def test_a_body_that_does_not_come_is_given_up(model):
    with serving(create_app(model, Limits(seconds=0.3))) as port:
        with socket.create_connection(('127.0.0.1', port), timeout=20) as wire:
            wire.sendall(
                b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n'
                b'Content-Length: 1000\r\n\r\nabc'
            )
            assert b' 408 ' in wire.recv(4096).splitlines()[0]
        assert post(port, png())[0] == 200


class Slow:
    """The model, which waits before it looks."""

    def __init__(self, model, gate):
        self.model, self.gate, self.sizes = model, gate, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def find_prepared(self, inputs, sizes):
        self.gate.wait(20)
        self.sizes.append(len(inputs))
        return self.model.find_prepared(inputs, sizes)


def until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError('it did not happen in time')


def test_too_many_requests_are_refused_and_the_others_run_as_batches(model):
    gate = threading.Event()
    slow = Slow(model, gate)
    app = create_app(slow, Limits(queue=6, per_client=5, batch=4))
    with serving(app) as port, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(post, port, png(40 + i)) for i in range(5)]
        places = app.state.server.places
        until(lambda: places.taken == 5)
        status, headers, _ = ask(port, 'POST', '/predict', png(), 'image/png')
        assert (status, headers['retry-after']) == (429, '1')
        assert json.loads(ask(port)[2]) == dict(status='ok', waiting=5)
        with places.place('another address'):
            status, headers, _ = ask(port, 'POST', '/predict', png(), 'image/png')
            assert (status, headers['retry-after']) == (503, '2')
        time.sleep(0.3)  # all are prepared
        gate.set()
        answers = [future.result() for future in waiting]
        assert [a[1]['image']['width'] for a in answers] == [40, 41, 42, 43, 44]
        assert [a[1]['annotations'][0]['bbox'][2] for a in answers] == [40, 41, 42, 43, 44]
        assert max(slow.sizes) > 1, 'what waited ran together'
        assert max(slow.sizes) <= 4
        assert places.taken == 0
        assert not places.of


def test_an_answer_that_takes_too_long_is_given_up(model):
    gate = threading.Event()
    with serving(create_app(Slow(model, gate), Limits(seconds=0.3))) as port:
        status, content = post(port, png())
        assert (status, content['detail']) == (503, 'no answer within 0.3 s')
        gate.set()
        assert post(port, png())[0] == 200


def test_a_request_that_comes_as_the_server_stops_is_answered(model):
    """Between its look whether the server runs and its place in the queue, the server stops."""
    batches = Batches(model, 4, lambda size: None)
    stopping = threading.Thread(target=batches.close)
    queue = batches._waiting

    class Queue:
        get = queue.get

        def put(self, job):
            if job is not None and not stopping.ident:
                stopping.start()
                stopping.join(0.5)
            queue.put(job)

    batches._waiting = Queue()
    prepared = model.prepare(np.zeros((8, 8, 3), np.uint8))

    async def ask_once():
        return await asyncio.wait_for(batches.find(prepared, (8, 8)), 20)

    assert isinstance(asyncio.run(ask_once()), list)
    stopping.join()


def test_places_are_given_back():
    places = Places(Limits(queue=2, per_client=1))
    with places.place('a'):
        with pytest.raises(RefusedError) as refused, places.place('a'):
            pass
        assert refused.value.status == 429
        with places.place('b'), pytest.raises(RefusedError) as refused, places.place('c'):
            pass
        assert refused.value.status == 503
    assert (places.taken, dict(places.of)) == (0, {})


def test_a_token_guards_all_but_the_page(model):
    with serving(create_app(model, token='secret')) as port:
        for path in ('/predict', '/picture'):
            assert post(port, png(), path=path)[0] == 401
        for path in ('/model', '/metrics'):
            status, headers, _ = ask(port, path=path)
            assert (status, headers['www-authenticate']) == (401, 'Bearer')
        for value in ('Bearer wrong', 'secret', 'Bearer s\xe9cret'):
            assert post(port, png(), headers={'Authorization': value})[0] == 401
        assert post(port, png(), headers={'Authorization': 'Bearer secret'})[0] == 200
        for path in ('/', '/page.js', '/page.css', '/health', '/openapi.json'):
            assert ask(port, path=path)[0] == 200
    for token in ('gehe\xefm', ' secret', 'two\nlines', 'nul\0', 'del\x7f'):
        with pytest.raises(UserError, match='the token has to be ASCII'):
            create_app(model, token=token)


def test_limits_are_above_zero():
    with pytest.raises(UserError, match='queue=0; expected a number above 0'):
        Limits(queue=0)


def test_the_model_its_metrics_and_its_interface_are_told(port):
    about = json.loads(ask(port, path='/model')[2])
    assert (about['name'], about['kind'], about['runtime']) == (
        'echo.onnx',
        'detector',
        'onnxruntime',
    )
    assert (about['classes'], about['category_ids']) == (['ant', 'bee'], [7, 3])
    post(port, png())
    ask(port, path='/what/strangers/type')
    text = ask(port, path='/metrics')[2].decode()
    assert 'selnext_mm_requests_total{path="/predict",status="200"}' in text
    assert 'selnext_mm_requests_total{path="other",status="404"}' in text
    assert 'selnext_mm_batch_pictures_count' in text
    assert 'strangers' not in text
    api = json.loads(ask(port, path='/openapi.json')[2])
    told = api['paths']['/predict']['post']
    assert 'image/jpeg' in told['requestBody']['content']
    assert {'200', '401', '408', '413', '415', '422', '429', '503'} <= set(told['responses'])


def test_the_page_asks_no_other_host(port):
    for path in ('/', '/page.js', '/page.css'):
        status, headers, body = ask(port, path=path)
        assert status == 200
        assert not re.search(rb'(?:https?:|["\'(=])//', body)
        assert headers['content-security-policy'].startswith("default-src 'self'")


def test_load_is_served_whole_and_to_those_who_asked(model):
    """60 requests, 8 at a time, each with an image of its own."""
    app = create_app(model)
    with serving(app) as port, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: post(port, png(20 + i, 30, 100 + i)), range(60)))
    for i, (status, content) in enumerate(answers):
        assert status == 200
        assert content['image'] == dict(width=20 + i, height=30)
        (found,) = content['annotations']
        assert found['bbox'] == [0, 0, 20 + i, 30]
        assert found['score'] == pytest.approx((100 + i) / 255, abs=1e-3)


def test_the_page_of_the_documentation_has_the_answers_of_the_server(port):
    text = (Path(__file__).parents[2] / 'docs' / 'serve.md').read_text(encoding='utf-8')
    shown = re.search(r'`GET /health` \| `(.+?)`', text)[1]
    assert json.loads(shown) == json.loads(ask(port)[2])
    fields = json.loads(ask(port, path='/openapi.json')[2])['components']['schemas']['About']
    assert '0.3' in fields['properties']['score_threshold']['description']
