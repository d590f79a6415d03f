"""Clips and streams through ``selnext-mm predict``, on clips that are made here."""

import json
import os
import signal
import sys
import threading
import time
import weakref
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from selnext_mm.__main__ import main
from selnext_mm.inference.video import Clip, Stream, is_video
from tests.serve.echo import write_echo

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
GREYS = [20 * i for i in range(3, 12)]


@pytest.fixture(scope='module')
def echo(tmp_path_factory):
    return write_echo(tmp_path_factory.mktemp('echo') / 'echo.onnx')


def write_clip(path, codec, size=(64, 48)):
    """One frame for every grey of ``GREYS``, 10 in a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, size)
    assert writer.isOpened()
    for grey in GREYS:
        writer.write(np.full((size[1], size[0], 3), grey, np.uint8))
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / 'clip.mp4', 'mp4v')


def predict(model, source, out, *more):
    return main(['predict', str(model), str(source), '--out', str(out), *more])


def read(out):
    lines = [json.loads(line) for line in (out / 'frames.jsonl').read_text().splitlines()]
    return lines, list(Clip(out / 'video.mp4').frames())


def test_a_clip_gives_a_line_and_a_picture_per_frame(echo, clip, tmp_path, capsys):
    assert predict(echo, clip, tmp_path / 'out') == 0
    told = capsys.readouterr().out
    assert '9 frames, ' in told
    assert '0 dropped' in told
    lines, frames = read(tmp_path / 'out')
    assert [line['frame'] for line in lines] == list(range(9))
    assert [line['seconds'] for line in lines] == pytest.approx([i / 10 for i in range(9)])
    assert len(frames) == 9
    for line, grey in zip(lines, GREYS, strict=True):
        (found,) = line['instances']
        assert (found['category'], found['category_id'], found['bbox']) == (
            'ant',
            7,
            [0, 0, 64, 48],
        )
        assert found['score'] == pytest.approx(grey / 255, abs=0.02)
    drawn = [line['instances'][0]['score'] >= 0.3 for line in lines]
    assert 0 < sum(drawn) < 9
    for frame, shown in zip(frames, drawn, strict=True):
        assert frame.pixels.shape == (360, 480, 3)
        assert (frame.pixels.std() > 5) == shown, 'a box on one grey, from 0.3 on'


def test_a_checkpoint_takes_a_clip_too(classifier, clip, tmp_path):
    line = [classifier.config, classifier.checkpoint, clip, '--out', tmp_path / 'out']
    assert main(['predict', *map(str, line), '--max-frames', '2', '--device', 'cpu']) == 0
    lines, frames = read(tmp_path / 'out')
    assert len(lines) == len(frames) == 2
    assert len(lines[0]['classes']) == 4


def test_a_clip_that_was_cut_off_gives_what_is_there(echo, tmp_path, capsys):
    whole = write_clip(tmp_path / 'whole.avi', 'MJPG', (640, 480))
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert predict(echo, cut, tmp_path / 'out') == 1, 'as with an image that cannot be read'
    lines, frames = read(tmp_path / 'out')
    assert 0 < len(lines) == len(frames) < 9
    assert 'cut.avi says that it has 9 frames; it may be cut off' in capsys.readouterr().err
    assert predict(echo, whole, tmp_path / 'two', '--max-frames', '2') == 0
    assert 'cut off' not in capsys.readouterr().err


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP'])
def test_who_stops_it_keeps_what_is_done(name, echo, clip, tmp_path, monkeypatch, capsys):
    if not hasattr(signal, name):
        pytest.skip(f'this system has no {name}')
    from selnext_mm.runtime import Detector

    find, calls = Detector.find, []

    def stopped(self, pixels):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), getattr(signal, name))
        return find(self, pixels)

    monkeypatch.setattr(Detector, 'find', stopped)
    assert predict(echo, clip, tmp_path / 'out') == 0
    assert ', stopped' in capsys.readouterr().out
    lines, frames = read(tmp_path / 'out')
    assert len(lines) == len(frames) == 3


@pytest.fixture
def served(tmp_path):
    """The address of a server that sends the files of ``tmp_path``."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_address[1]}'
        server.shutdown()
        thread.join()


def test_a_clip_at_an_address_has_an_end_and_all_frames(served, echo, clip, tmp_path, capsys):
    """It was played again and again, as a camera that lost its connection."""
    assert predict(echo, f'{served}/{clip.name}', tmp_path / 'out') == 0
    told = capsys.readouterr()
    assert '9 frames, ' in told.out
    assert ' 0 dropped' in told.out
    assert f'opening {served}/{clip.name}' in told.err
    lines, frames = read(tmp_path / 'out')
    assert [line['frame'] for line in lines] == list(range(9))
    assert len(frames) == 9


class Camera:
    """A camera of 50 frames/s that loses its connection after every ten."""

    def __init__(self, frames=10):
        self.left, self.open = frames, True

    def get(self, what):
        return 50.0

    def read(self):
        time.sleep(0.02)
        self.left -= 1
        return self.left >= 0, np.full((48, 64, 3), 100, np.uint8)

    def release(self):
        self.open = False


def test_a_stream_gives_the_newest_frame_and_comes_back():
    cameras = [Camera(), None, Camera()]
    made = list(cameras)
    stream = Stream('rtsp://here', 2, 0.01, lambda source: cameras.pop(0) if cameras else None)
    seen = []
    for frame in stream.frames():
        seen.append(frame.index)
        time.sleep(0.05)  # slower than the camera
    stream.close()
    assert seen == sorted(set(seen))
    assert seen[-1] == 19, 'the last frame is seen'
    assert len(seen) + stream.dropped == 20
    assert stream.dropped > 2
    assert stream.lost == 2, 'once it came back'
    assert not any(camera.open for camera in made if camera)


def test_a_stream_that_opens_but_sends_nothing_more_ends():
    opened = []
    stream = Stream('rtsp://here', 3, 0.01, lambda source: opened.append(1) or Camera(0))
    assert list(stream.frames()) == []
    stream.close()
    assert len(opened) == 4, 'at first and three attempts'
    assert stream.lost == 1


@pytest.mark.parametrize('kind', ['clip', 'stream'])
def test_no_more_than_a_few_frames_are_in_memory(kind, clip):
    alive, most = [], 0
    video = Clip(clip) if kind == 'clip' else Stream('rtsp://here', 0, 0, lambda _: Camera(40))
    for frame in video.frames():
        alive = [ref for ref in alive if ref() is not None] + [weakref.ref(frame.pixels)]
        most = max(most, len(alive))
        time.sleep(0.03 if kind == 'stream' else 0)  # frames arrive faster than they are taken
    video.close()
    assert 1 <= most <= 3


def test_a_stream_that_is_closed_ends_its_thread():
    stream = Stream('rtsp://here', opened_by=lambda source: Camera(10**6))
    assert next(stream.frames()).index == 0
    stream.close()
    assert not any(thread is stream._thread for thread in threading.enumerate())


@pytest.mark.parametrize(
    ('entry', 'expected'),
    [('a.mp4', True), ('A.MOV', True), ('0', True), ('rtsp://x/y', True), ('a.jpg', False)],
)
def test_what_is_a_video(entry, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_video(entry) is expected


def test_a_folder_named_like_a_clip_holds_images(tmp_path):
    (tmp_path / 'holiday.mp4').mkdir()
    assert not is_video(tmp_path / 'holiday.mp4')


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['gone.mp4'], 'gone.mp4: no such file'),
        (['*.mp4'], '*.mp4: no such file; name one clip, a pattern is for images'),
        (['text.mp4'], 'text.mp4: OpenCV cannot read this clip'),
        (['99'], 'camera 99 cannot be opened'),
        (['a.mp4', 'b.mp4'], 'name one clip, camera or stream'),
        (['text.mp4', '--max-frames', '0'], '--max-frames 0; expected 1 or more'),
        (['http://127.0.0.1:9/none.mp4'], 'none.mp4 gives no video; is the address right'),
        (['p.png', '--max-frames', '3'], '--max-frames needs a clip'),
        (['p.png', '--max-frames', '0'], '--max-frames needs a clip'),
        (['p.png', '--track'], '--track needs a clip'),
    ],
)
def test_mistakes_leave_nothing(words, text, echo, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.mp4').write_text('this is text')
    assert main(['predict', str(echo), *words, '--out', 'out']) == 2
    error = capfd.readouterr().err
    assert text in error
    rest = [line for line in error.splitlines() if line and not line.startswith('opening http')]
    assert len(rest) == 1, 'nothing of FFmpeg and OpenCV'
    assert not (tmp_path / 'out').exists()


def test_predictions_are_not_replaced_by_accident(echo, clip, tmp_path):
    assert predict(echo, clip, tmp_path / 'out', '--no-pictures') == 0
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['frames.jsonl']
    assert predict(echo, clip, tmp_path / 'out') == 2
    assert predict(echo, clip, tmp_path / 'out', '--force') == 0


def test_tracked_objects_keep_their_numbers(echo, clip, tmp_path, capsys):
    pytest.importorskip('trackers', reason='needs pip install --no-deps trackers, see tracks.py')
    assert predict(echo, clip, tmp_path / 'out', '--track') == 0
    assert '9 objects, 1 track' in capsys.readouterr().out
    lines, frames = read(tmp_path / 'out')
    strong = [i for i, line in enumerate(lines) if line['instances'][0]['score'] >= 0.7]
    # From the frame after the first strong one on; before there is no number.
    numbers = [line['instances'][0].get('track') for line in lines]
    assert 1 < len(strong) < 9
    assert numbers == [None] * (strong[0] + 1) + [0] * (8 - strong[0])
    assert (frames[-1].pixels.min(axis=2) > 240).sum() > 20, 'the number is white in the box'


def test_tracks_do_not_swap(tmp_path):
    pytest.importorskip('trackers', reason='needs pip install --no-deps trackers, see tracks.py')
    from selnext_mm.inference.tracks import Tracks

    tracks, numbers = Tracks(10), []
    for i in range(12):
        two = [
            dict(bbox=[10 + 5 * i, 10, 30, 30], score=0.9, label=0),
            dict(bbox=[150 - 5 * i, 60, 30, 30], score=0.8, label=1),
        ]
        order = two if i % 2 else two[::-1]
        tracks.add(order)
        numbers.append((two[0].get('track'), two[1].get('track')))
    assert numbers[0] == (None, None)
    assert len(set(numbers[1:])) == 1
    assert len(set(numbers[1])) == 2
    tracks.add([])
    assert len(tracks.seen) == 2


@pytest.mark.parametrize('missing', ['trackers', 'supervision'])
def test_a_missing_tracker_is_told_before_the_model_is_read(
    missing, echo, clip, tmp_path, monkeypatch, capsys
):
    from selnext_mm.runtime import models

    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(models, 'open_model', pytest.fail)
    assert predict(echo, clip, tmp_path / 'out', '--track') == 2
    found = capsys.readouterr().err
    assert '--track needs trackers' in found
    assert 'pip install --no-deps trackers' in found
    assert not (tmp_path / 'out').exists()


def test_a_batch_of_frames_is_refused(detector, clip, tmp_path, capsys):
    line = ['predict', str(detector.config), str(detector.checkpoint), str(clip)]
    assert main([*line, '--batch-size', '2', '--out', str(tmp_path / 'out')]) == 2
    assert 'one by one; leave it out, or give --slice' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
