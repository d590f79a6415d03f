"""The helper that the tests of the tools start them with."""

import sys

import pytest

from tests.processes import finish

WAITS = """
import subprocess, sys, time
def wait_for_ever(): time.sleep(600)
if sys.argv[1] == 'parent':
    subprocess.run([sys.executable, __file__, 'child'])
wait_for_ever()
"""


def test_what_does_not_end_tells_where_it_waits(tmp_path):
    (tmp_path / 'waits.py').write_text(WAITS)
    with pytest.raises(pytest.fail.Exception, match='took over 4 s') as caught:
        finish([sys.executable, tmp_path / 'waits.py', 'parent'], timeout=4)
    assert 'in wait_for_ever' in str(caught.value)


def test_what_ends_is_returned(tmp_path):
    done = finish([sys.executable, '-c', 'print(1); exit(3)'], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, '1\n', '')
