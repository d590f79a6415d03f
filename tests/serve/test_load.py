"""The command under load, and requests that nobody would write by hand."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.serve.echo import png, post, served_by_command, write_echo

ROOT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get('SELNEXT_MM_SCHEMATHESIS')  # a folder into which pip has put schemathesis


@pytest.fixture
def server(tmp_path):
    """(process, port) of ``selnext-mm serve`` with a file."""
    write_echo(tmp_path / 'echo.onnx')
    with served_by_command('echo.onnx', tmp_path) as (process, port, _):
        yield process, port


@pytest.mark.slow
@pytest.mark.integration
def test_a_thousand_requests_are_answered_and_memory_is_steady(server):
    """16 at a time, no two images of a hundred alike."""
    process, port = server
    memory = []

    def send(number):
        width, grey = 20 + number % 50, 100 + number % 100
        status, content = post(port, png(width, 30, grey))
        assert status == 200, content
        (found,) = content['annotations']
        assert found['bbox'] == [0, 0, width, 30]
        assert found['score'] == pytest.approx(grey / 255, abs=1e-3)
        if number % 100 == 99:
            memory.append(psutil.Process(process.pid).memory_info().rss)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(send, range(1000)))
    assert len(memory) == 10
    assert max(memory[5:]) < 1.1 * max(memory[:3]), [m >> 20 for m in memory]
    assert process.poll() is None


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(not TOOL, reason='SELNEXT_MM_SCHEMATHESIS names no folder with schemathesis')
def test_no_request_makes_the_server_fail(server, tmp_path):
    """Every status is one that the OpenAPI document has, and none is 500."""
    process, port = server
    checks = 'not_a_server_error,status_code_conformance,content_type_conformance'
    result = subprocess.run(
        [
            *(sys.executable, '-m', 'schemathesis.cli', 'run'),
            *(f'http://127.0.0.1:{port}/openapi.json', '--seed', '0', '--max-examples', '100'),
            *('--checks', f'{checks},response_schema_conformance'),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | dict(PYTHONPATH=TOOL, PYTHONUTF8='1'),
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert re.search(r'\d+ passed', result.stdout), result.stdout[-2000:]
    assert process.poll() is None
