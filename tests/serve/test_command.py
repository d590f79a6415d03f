"""``selnext-mm serve`` as users start it, where torch and mm* cannot be imported."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.runtime.test_without_torch import COMMAND
from tests.serve.echo import ask, png, post


@pytest.fixture
def started(echo):
    """(process, port) of a server with a token."""
    process = subprocess.Popen(
        [sys.executable, '-c', COMMAND, 'serve', str(echo), '--port', '0', '--threads', '1'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict(SELNEXT_MM_TOKEN='secret'),
    )
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[0].startswith('detector '), (lines, process.poll())
        assert 'with the token of SELNEXT_MM_TOKEN' in lines[1]
        yield process, int(re.search(r'http://127\.0\.0\.1:(\d+) ', lines[1])[1])
    finally:
        process.kill()
        process.communicate()


def test_the_command_serves_and_stops(started):
    process, port = started
    headers = {'Authorization': 'Bearer secret', 'Content-Type': 'image/png'}
    status, _, body = ask(port, 'POST', '/predict', png(40, 30), headers=headers)
    assert (status, json.loads(body)['annotations'][0]['bbox']) == (200, [0, 0, 40, 30])
    assert ask(port, 'POST', '/predict', png(), 'image/png')[0] == 401
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=20) as page:
        assert b'Choose an image' in page.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)
    assert 'Traceback' not in process.stderr.read()


@pytest.mark.parametrize('signals', [1, 2])
def test_ctrl_c_stops_a_busy_server(signals, echo, tmp_path):
    """Once: the requests that came are answered. Twice: it ends at once. It printed tracebacks."""
    errors = tmp_path / 'errors'
    with errors.open('w') as file:
        process = subprocess.Popen(
            [sys.executable, '-c', COMMAND, 'serve', str(echo), '--port', '0', '--threads', '1'],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    try:
        printed = [process.stdout.readline() for _ in range(2)][1]
        port = int(re.search(r':(\d+) without', printed)[1])
        large = png(4000, 3000)

        def send(_):
            try:
                return post(port, large)[0]
            except (OSError, http.client.HTTPException):
                return None

        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(send, range(8))
            time.sleep(0.5)
            for _ in range(signals):
                process.send_signal(signal.SIGINT)
                time.sleep(0.02)
            assert process.wait(60) == {1: 0, 2: 130}[signals]
            statuses = set(answers)
        assert statuses <= ({200} if signals == 1 else {200, None})
    finally:
        process.kill()
        process.communicate()
    assert errors.read_text() == ''


@pytest.mark.parametrize(
    ('line', 'text'),
    [
        ('gone.onnx', 'gone.onnx is not there'),
        ('MODEL --port 70000', '--port 70000; expected 0 to 65535'),
        ('MODEL --host 0.0.0.0', 'set the environment variable SELNEXT_MM_TOKEN'),
        ('MODEL --host ::', '--host :: lets other machines in'),
        ('MODEL --host no.such.host.invalid --no-token', '--host no.such.host.invalid --port'),
        ('MODEL --queue 0', '--queue 0; expected a number above 0'),
        ('MODEL --timeout nan', '--timeout nan; expected a number above 0'),
        ('MODEL --max-megapixels inf', '--max-megapixels inf; expected'),
        ('MODEL --top-k 3', '--top-k 3 is for classifiers; of a detector all objects are'),
        ('MODEL --threads 0', '--threads 0; expected 1 or more'),
    ],
)
def test_mistakes_are_one_message(line, text, echo, capsys, monkeypatch, tmp_path):
    from selnext_mm.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('SELNEXT_MM_TOKEN', raising=False)
    assert main(['serve', *line.replace('MODEL', str(echo)).split()]) == 2
    assert text in capsys.readouterr().err


def test_a_checkpoint_without_torch_is_one_message(tmp_path):
    result = subprocess.run(
        [sys.executable, '-c', COMMAND, 'serve', 'my_config.py', 'epoch_3.pth'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert 'my_config.py: a config and a checkpoint need PyTorch, which is not' in result.stderr
    assert 'Traceback' not in result.stderr


def test_a_port_that_is_taken(echo, capsys):
    import socket

    from selnext_mm.__main__ import main

    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(['serve', str(echo), '--port', str(port)]) == 2
    assert f'--port {port}: Address already in use' in capsys.readouterr().err


def test_missing_packages_are_named(echo, monkeypatch):
    from selnext_mm.cli import serve
    from selnext_mm.errors import UserError

    monkeypatch.setattr(serve, 'find_spec', lambda name: None)
    with pytest.raises(
        UserError, match=r"serve needs fastapi, .*pip install 'selnext_mm\[serve\]'"
    ):
        serve.main([str(echo)])
