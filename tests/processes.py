"""Running the tools as processes, with the stacks of those that do not come to an end."""

import os
import signal
import subprocess

import psutil
import pytest


def finish(command, *, cwd=None, env=None, timeout=600):
    """The finished process. One that takes longer than ``timeout`` seconds fails the test.

    Then each Python process that it has started writes where its threads wait before it dies.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={'PYTHONFAULTHANDLER': '1', **os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for member in family:
            try:
                member.send_signal(signal.SIGABRT)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        out, err = process.communicate()
        pytest.fail(f'{command} took over {timeout} s\n{out[-3000:]}\n{err[-12000:]}')
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
