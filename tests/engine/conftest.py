"""Runs that a test cuts off leave their signal handlers behind."""

import signal

import pytest


@pytest.fixture(autouse=True)
def _signals():
    former = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _unformatted_configs(unformatted_configs):
    """See there."""
