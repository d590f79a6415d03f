"""Running probes in separate processes. Imports nothing but the standard library."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator

from selnext_mm.doctor import probes
from selnext_mm.doctor.probes import MARK, MAX_REASON, Facts

Told = Callable[[str], object]  # called with the name of each finished probe


def run_probe(name: str, timeout: float = 180.0) -> Facts:
    """Facts of one probe, run in a child process; if it crashes, ``error`` says how."""
    return _run([name], timeout, lambda name: None)[name]


def run_probes(names: Iterable[str], timeout: float, told: Told) -> dict[str, Facts]:
    """Facts of several probes, run one after the other in one child to share imports.

    A probe that fails, or does not answer within ``timeout`` seconds, is run again in a separate
    child, so that the error is its own; the following probes continue in another child.
    """
    left, found = list(names), {}
    while left:
        facts = _run(left, timeout, told)
        for name in left:
            if 'error' in facts.get(name, {'error': 'not reached'}):
                found[name] = run_probe(name, timeout) if len(left) > 1 else facts[name]
                told(name)
                left = left[left.index(name) + 1 :]
                break
            found[name] = facts[name]
        else:
            break
    return found


def _run(names: list[str], timeout: float, told: Told) -> dict[str, Facts]:
    """Facts of the probes that one child runs; it ends at the first one that fails."""
    facts: dict[str, Facts] = {names[0]: {}}
    late = threading.Event()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(probes.__file__), *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(timeout, stop)
        timer.start()
        last = names[0]
        try:
            for last, more in _read(child.stdout):
                own = facts.setdefault(last, {})
                own |= more
                if own.pop('done', False) and 'error' not in own:
                    told(last)
            child.wait()
        finally:
            timer.cancel()
            child.stdout.close()
        errors.seek(0)
        words = errors.read()
    if late.is_set():
        facts[last]['error'] = f'no answer in {timeout:g} s'
    elif child.returncode:
        facts[last]['error'] = describe_end(child.returncode, words)
    own = facts[last]
    if 'error' in own and 'compat_error' in own:
        own['error'] = own['compat_error']  # it came first, so it is the likely cause
    return facts


def _read(output: Iterable[bytes]) -> Iterator[tuple[str, Facts]]:
    for line in output:
        text = line.decode(errors='replace')
        if text.startswith(MARK):
            name, facts = json.loads(text[len(MARK) :])
            yield name, facts


def describe_end(status: int, stderr: bytes) -> str:
    """Why a probe did not finish: the signal, or its status and last line of output."""
    if status < 0:
        return f'the process was ended by {signal.Signals(-status).name}'
    words = [line.strip() for line in stderr.decode(errors='replace').splitlines() if line.strip()]
    return ' '.join([f'exit status {status}', *words[-1:]])[:MAX_REASON]
