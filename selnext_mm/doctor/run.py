"""Running a probe in a process of its own. Imports nothing but the standard library."""

import json
import os
import signal
import subprocess
import sys
import tempfile

from selnext_mm.doctor import probes
from selnext_mm.doctor.probes import MARK, MAX_REASON, Facts


def run_probe(name: str, timeout: float = 180.0) -> Facts:
    """Facts of one probe, run in a child; whatever ends it, ``error`` says what happened."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            child = subprocess.run(
                [sys.executable, os.path.abspath(probes.__file__), name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                # The package has to be found from anywhere; elsewhere a relative entry in
                # PYTHONPATH may mean the caller's folder.
                cwd=folder if name == 'selnext_mm' else None,
            )
        except subprocess.TimeoutExpired as late:
            return read_facts(late.stdout or b'') | {'error': f'no answer in {timeout:g} s'}
    facts = read_facts(child.stdout)
    if not facts.pop('done', False):
        facts['error'] = describe_end(child.returncode, child.stderr)
    if 'error' in facts and 'compat_error' in facts:
        facts['error'] = facts['compat_error']  # what came first, so the likely cause
    return facts


def read_facts(output: bytes) -> Facts:
    facts: Facts = {}
    for line in output.decode(errors='replace').splitlines():
        if line.startswith(MARK):
            facts |= json.loads(line[len(MARK) :])
    return facts


def describe_end(status: int, stderr: bytes) -> str:
    """Why a probe did not finish: the signal, or its status and last words."""
    if status < 0:
        return f'the process was ended by {signal.Signals(-status).name}'
    words = [line.strip() for line in stderr.decode(errors='replace').splitlines() if line.strip()]
    return ' '.join([f'exit status {status}', *words[-1:]])[:MAX_REASON]
