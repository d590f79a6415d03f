"""Real streams: frames over RTSP from ffmpeg, and from a server that goes away and comes back."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.integration
def test_a_server_that_comes_back_is_opened_again(root, tmp_path):
    there = Path(PYTHON).exists() and subprocess.run(
        [PYTHON, SERVER, '--check'], capture_output=True, check=False
    )
    if not there or there.returncode:
        pytest.skip(f'{SERVER.name} says which packages of Debian it needs')
    pytest.importorskip('onnx')
    echo, port = write_echo(tmp_path / 'echo.onnx'), free_port()
    line = [*(sys.executable, '-m', 'selnext_mm', 'predict', echo, f'rtsp://127.0.0.1:{port}/live')]
    line += ['--max-frames', '60', '--out', tmp_path / 'out']
    with rtsp_server(port) as first:
        client = subprocess.Popen(
            line, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert first.stdout.readline() == 'client\n'
            time.sleep(3)  # of 6 that 60 frames take
            first.kill()
            with rtsp_server(port) as second:
                assert second.stdout.readline() == 'client\n'
                printed, errors = client.communicate(timeout=120)
        finally:
            client.kill()
            client.communicate()
    assert client.returncode == 0, errors
    assert 'connection lost 1 time\n' in printed
    lines = [json.loads(line) for line in (tmp_path / 'out' / 'frames.jsonl').open()]
    assert len(lines) == 60
    gaps = np.diff([line['seconds'] for line in lines])
    assert (gaps > 1.5).sum() == 1, 'the time without a connection'
    assert (tmp_path / 'out' / 'video.mp4').stat().st_size > 1000
