"""Connections that send nothing neither stop the server nor stay."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest

from selnext_mm.serve.limits import Limits
from tests.serve.echo import ROOT, ask, served_by_command

pytest.importorskip('uvicorn')
HALF = b'POST /predict HTTP/1.1\r\nHost: here\r\n'


@pytest.fixture
def port(echo):
    line = f'{echo} --timeout 2 --queue 8 --per-client 4'
    with served_by_command(line, echo.parent) as (_, port, _):
        yield port


def closed(connection) -> bytes:
    """What was sent until the server closed the connection; socket.timeout if it does not."""
    connection.settimeout(10)
    received = b''
    while part := connection.recv(4096):
        received += part
    return received


@pytest.mark.parametrize('sent', [b'', HALF])
def test_one_without_a_request_is_closed(port, sent):
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(sent)
        start = time.monotonic()
        assert closed(connection) == b''
        assert 1 < time.monotonic() - start < 8
    assert ask(port)[0] == 200


def test_half_a_request_after_a_whole_one_is_closed(port):
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(b'GET /health HTTP/1.1\r\nHost: here\r\n\r\n' + HALF)
        assert closed(connection).startswith(b'HTTP/1.1 200')


def test_too_many_are_refused_until_others_are_gone(port):
    held = [socket.create_connection(('127.0.0.1', port)) for _ in range(16)]
    try:
        with socket.create_connection(('127.0.0.1', port)) as connection:
            answer = closed(connection)
        assert answer.startswith(b'HTTP/1.1 429 ')
        assert b'{"detail":"too many connections from this address"}' in answer
    finally:
        for connection in held:
            connection.close()
    time.sleep(0.3)
    assert ask(port)[0] == 200


@pytest.mark.skipif(sys.platform == 'win32', reason='ulimit')
def test_few_open_files_are_enough(echo, tmp_path):
    """300 connections at once made asyncio log 12,000 lines, and nothing was answered."""
    resource = pytest.importorskip('resource')
    errors = tmp_path / 'errors'
    line = [sys.executable, '-m', 'selnext_mm', 'serve', echo, *['--port', '0', '--threads', '1']]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with errors.open('w') as file:
        process = subprocess.Popen(
            [*map(str, line), '--timeout', '2'],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=os.environ | dict(PYTHONPATH=str(ROOT), SELNEXT_MM_TOKEN=''),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard)),
        )
    held = []
    try:
        printed = [process.stdout.readline() for _ in range(2)][1]
        port = int(re.search(r':(\d+) without', printed)[1])
        held = [socket.create_connection(('127.0.0.1', port)) for _ in range(300)]
        time.sleep(4)
        assert ask(port)[0] == 200
    finally:
        for connection in held:
            connection.close()
        process.kill()
        process.communicate()
    assert errors.read_text() == ''


def test_there_are_no_more_than_files(monkeypatch):
    resource = pytest.importorskip('resource')
    from selnext_mm.serve.connections import most_connections

    monkeypatch.setattr(resource, 'getrlimit', lambda which: (200, 1000))
    assert most_connections(Limits(queue=64, per_client=4)) == (72, 16)
    monkeypatch.setattr(resource, 'getrlimit', lambda which: (resource.RLIM_INFINITY,) * 2)
    assert most_connections(Limits(queue=64, per_client=32)) == (256, 128)
