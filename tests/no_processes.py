"""Plugin of ``make quick`` (``-p tests.no_processes``): a test that starts a process fails."""

import multiprocessing.process
import sys

import pytest

# Of Python's audit events. Fork is also how multiprocessing starts processes on Linux.
STARTS = {
    'subprocess.Popen',
    'os.fork',
    'os.forkpty',
    'os.posix_spawn',
    'os.spawn',
    'os.startfile',
    'os.system',
}
watching = False
started: list[str] = []


def refuse(what):
    """Note it, since code may take the error for another one, and stop it if it is a test's."""
    if watching:
        started.append(what)
        raise RuntimeError(f'{what}: no process is started in the quick tests')


def hear(event, args):
    if event in STARTS:
        refuse(f'{event} {args[:2]}')


def start(process, original=multiprocessing.process.BaseProcess.start):
    refuse(f'multiprocessing {process.name}')  # the methods other than fork raise no event
    return original(process)


def pytest_configure():
    sys.addaudithook(hear)
    multiprocessing.process.BaseProcess.start = start


def watch():
    global watching
    watching = True
    started.clear()
    try:
        yield
    finally:
        watching = False
    if started:
        pytest.fail(f'a process was started; mark the test "integration": {started}')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from watch())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from watch())
