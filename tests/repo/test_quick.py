"""``make quick`` starts no process: a plugin fails the test that does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import multiprocessing, os, subprocess, sys
import pytest

def test_sound():
    pass

def test_popen():
    subprocess.run([sys.executable, '-c', ''])

def test_hidden():
    try:
        subprocess.run([sys.executable, '-c', ''])
    except Exception:
        pass

def test_fork():
    if not os.fork():
        os._exit(0)

def test_system():
    os.system('true')

@pytest.mark.parametrize('method', ['fork', 'spawn', 'forkserver'])
def test_multiprocessing(method):
    multiprocessing.get_context(method).Process(target=print).start()

@pytest.fixture
def program():
    subprocess.run([sys.executable, '-c', ''])

def test_fixture(program):
    pass
"""


def test_each_way_to_start_a_process_is_noticed(tmp_path):
    (tmp_path / 'test_starts.py').write_text(TESTS)
    options = ['-p', 'tests.no_processes', '-p', 'no:cacheprovider', '-rA', '--tb=no']
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', f'--rootdir={tmp_path}', *options, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = [line for line in result.stdout.splitlines() if '::' in line]
    told = {line.split('::')[1].split()[0]: line.split()[0] for line in lines}
    assert told.pop('test_sound') == 'PASSED', result.stdout
    assert told.pop('test_fixture') == 'ERROR'
    assert len(told) == 7
    assert set(told.values()) == {'FAILED'}


def test_make_quick_has_the_guard():
    recipe = (ROOT / 'Makefile').read_text().partition('\nquick: ')[2].partition('\n\n')[0]
    assert '-p tests.no_processes' in recipe
