"""Real streams: frames over RTSP from ffmpeg, and from a server that goes away and comes back."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.processes import finish
from tests.serve.echo import write_echo

imageio_ffmpeg = pytest.importorskip('imageio_ffmpeg')
PYTHON = '/usr/bin/python3'  # the one for which Debian's packages are installed
SERVER = Path(__file__).with_name('rtsp_server.py')


@pytest.fixture
def clip(tmp_path):
    """Five seconds of H.264, as cameras send it."""
    path = tmp_path / 'clip.mp4'
    writer = imageio_ffmpeg.write_frames(path, (160, 128), fps=10, codec='libx264', quality=5)
    writer.send(None)
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((160, 128))
    for i in range(50):
        writer.send(np.ascontiguousarray(np.roll(noise, i, 1)))
    writer.close()
    return path


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


@pytest.mark.integration
def test_frames_of_a_stream_become_lines_and_a_clip(root, clip, tmp_path):
    address = f'rtsp://127.0.0.1:{free_port()}/live'
    # Its own folder: the sender tries until somebody listens.
    send = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-re', '-stream_loop', '-1', '-i', clip),
        *('-c', 'copy', '-f', 'rtsp', '-rtsp_transport', 'tcp', address),
    ]
    again = f'until {subprocess.list2cmdline(map(str, send))}; do sleep 0.5; done'
    sender = subprocess.Popen(
        ['sh', '-c', again], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        done = finish(
            [
                *(sys.executable, '-m', 'selnext_mm', 'predict'),
                *(root / 'weights' / 'bccd_selnext_yocto', address, '--max-frames', 8),
                *('--out', tmp_path / 'out'),
            ],
            # OpenCV as the end that waits: a server of RTSP alone would be another dependency.
            env={'OPENCV_FFMPEG_CAPTURE_OPTIONS': 'rtsp_flags;listen'},
            timeout=240,
        )
    finally:
        os.killpg(sender.pid, 9)
        sender.wait()
    assert done.returncode == 0, done.stderr[-3000:]
    assert '8 frames, ' in done.stdout
    lines = [json.loads(line) for line in (tmp_path / 'out' / 'frames.jsonl').open()]
    assert len(lines) == 8
    assert {(line['width'], line['height']) for line in lines} == {(160, 128)}
    seconds = [line['seconds'] for line in lines]
    assert seconds == sorted(seconds)
    assert (tmp_path / 'out' / 'video.mp4').stat().st_size > 1000


@contextmanager
def rtsp_server(port):
    """The server on ``port``; its process, when it listens."""
    server = subprocess.Popen([PYTHON, SERVER, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == 'listens\n'
        yield server
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def start(root, tmp_path):
    """Call with a port and options: starts ``predict`` on its stream."""
    there = Path(PYTHON).exists() and subprocess.run(
        [PYTHON, SERVER, '--check'], capture_output=True, check=False
    )
    if not there or there.returncode:
        pytest.skip(f'{SERVER.name} says which packages of Debian it needs')
    pytest.importorskip('onnx')
    echo, clients = write_echo(tmp_path / 'echo.onnx'), []

    def call(port, *more):
        line = [sys.executable, '-m', 'selnext_mm', 'predict', echo]
        line += [f'rtsp://127.0.0.1:{port}/live', '--out', tmp_path / 'out', *more]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        clients.append(subprocess.Popen(line, cwd=root, **pipes))
        return clients[-1]

    yield call
    for client in clients:
        client.kill()
        client.communicate()


def lines_and_length(folder):
    """The lines of ``frames.jsonl``, and the seconds of ``video.mp4``."""
    lines = [json.loads(line) for line in (folder / 'frames.jsonl').open()]
    clip = cv2.VideoCapture(str(folder / 'video.mp4'))
    return lines, clip.get(cv2.CAP_PROP_FRAME_COUNT) / clip.get(cv2.CAP_PROP_FPS)


@pytest.mark.slow
@pytest.mark.integration
def test_a_server_that_comes_back_is_opened_again(start, tmp_path):
    port = free_port()
    with rtsp_server(port) as first:
        client = start(port, '--max-frames', '60')
        assert first.stdout.readline() == 'client\n'
        time.sleep(3)  # of 6 that 60 frames take
        first.kill()
        with rtsp_server(port) as second:
            assert second.stdout.readline() == 'client\n'
            printed, errors = client.communicate(timeout=120)
    assert client.returncode == 0, errors
    assert 'connection lost 1 time\n' in printed
    assert f'rtsp://127.0.0.1:{port}/live: connection lost; opening it again\n' in errors
    lines, length = lines_and_length(tmp_path / 'out')
    assert len(lines) == 60
    seconds = [line['seconds'] for line in lines]
    assert (np.diff(seconds) > 1.5).sum() == 1, 'the time without a connection'
    assert length == pytest.approx(seconds[-1], abs=0.3)


@pytest.mark.slow
@pytest.mark.integration
def test_a_server_that_is_gone_is_no_success(start, tmp_path):
    """It ended with status 0 and no word."""
    port = free_port()
    with rtsp_server(port) as server:
        client = start(port)
        assert server.stdout.readline() == 'client\n'
        time.sleep(7)  # FFmpeg looks at the stream for some of them
    printed, errors = client.communicate(timeout=120)
    assert client.returncode == 1
    assert 'ended, or cannot be opened again after 5 tries\n' in errors
    lines, length = lines_and_length(tmp_path / 'out')
    assert 10 < len(lines) < 75
    assert length == pytest.approx(lines[-1]['seconds'], abs=0.3)
    assert re.search(
        rf'^{len(lines)} frames, \d+\.\d frames/s .* connection lost 1 time$', printed, re.M
    )


@pytest.mark.integration
def test_an_address_that_is_silent_can_be_interrupted(start):
    """OpenCV waited for 30 seconds before the signal was looked at."""
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        client = start(silent.getsockname()[1])
        assert client.stderr.readline().startswith('opening rtsp://')
        time.sleep(1)
        begin = time.monotonic()
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=60)
    assert time.monotonic() - begin < 5
    assert (client.returncode, errors) == (130, 'interrupted\n')
