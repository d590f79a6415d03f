"""The facts on the machine, where it has no compiler."""

import os
import sys

import pytest

from selnext_mm.engine.environment import describe_environment


@pytest.mark.skipif(os.name == 'nt', reason='Windows asks no shell for a compiler')
def test_a_missing_compiler_is_no_line_on_the_screen(monkeypatch, tmp_path, capfd):
    # The bug: "/bin/sh: 1: gcc: not found" at the start of every run on such a machine.
    monkeypatch.setenv('PATH', str(tmp_path))
    facts = describe_environment()
    assert facts['Python'] == sys.version.replace('\n', '')
    assert facts['GCC'] == 'n/a'
    assert capfd.readouterr().err == ''
    print('after', file=sys.stderr)
    assert capfd.readouterr().err == 'after\n'
