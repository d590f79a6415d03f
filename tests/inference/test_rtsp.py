"""A real stream: frames over RTSP from ffmpeg, with the connection that a camera would have."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.processes import finish

imageio_ffmpeg = pytest.importorskip('imageio_ffmpeg')


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


@pytest.mark.integration
def test_frames_of_a_stream_become_lines_and_a_clip(root, clip, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    address = f'rtsp://127.0.0.1:{port}/live'
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
