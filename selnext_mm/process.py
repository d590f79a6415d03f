"""How this process waits for its threads and keeps its memory. Standard library only."""

import ctypes
import os
import sys

SPINS = 1000  # a few microseconds to 50, as long as the processor's pause instruction takes
WAITING = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')

# Of mallopt(3): parameter and the environment variable that sets it, too.
TRIM_THRESHOLD = (-1, 'MALLOC_TRIM_THRESHOLD_')
MMAP_MAX = (-4, 'MALLOC_MMAP_MAX_')
ARENA_MAX = (-8, 'MALLOC_ARENA_MAX')
NEVER = 2**31 - 1  # bytes: nearly never


def wait_briefly() -> None:
    """Let idle OpenMP threads spin :data:`SPINS` times and then sleep, unless the user has chosen.

    By default they spin for milliseconds, and two processes on the same cores slow each other down
    a lot: in one case an iteration took 10.3 s in place of 0.7 s. Threads that sleep at once have
    to be woken for each operation of a model: on two cores a training took 1.6 times as long
    (docs/performance.md). It has to be set before torch is loaded.
    """
    if 'torch' not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
        os.environ['GOMP_SPINCOUNT'] = str(SPINS)  # libgomp's; goes before the policy


def _mallopt(*settings: tuple[tuple[int, str], int]) -> bool:
    """Set all of ``settings``; nothing if the user has set one, or without glibc."""
    if not sys.platform.startswith('linux') or any(os.environ.get(n) for (_, n), _ in settings):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and all(mallopt(number, value) for (number, _), value in settings)


def share_arenas(count: int = 1) -> bool:
    """Let all threads share ``count`` malloc arenas of glibc; return whether this succeeded.

    By default glibc gives threads separate arenas, up to 8 per core. Memory that a request frees in
    one is not available to a request in another, so the process grew long after its first requests.
    This has to be called before there are threads. The environment variable ``MALLOC_ARENA_MAX``
    takes precedence if it is set; other C libraries have no such arenas.
    """
    return _mallopt((ARENA_MAX, count))


def keep_freed_memory() -> bool:
    """Let the process use freed memory again and not return it; return whether this succeeded.

    By default glibc maps each block above 32 MB anew and unmaps it when it is freed, and the first
    write to each of its pages is a page fault. The maps of a detector are that large: without page
    faults a prediction takes 12 % less time, and the process keeps 20 to 45 % more memory. The
    environment variables ``MALLOC_MMAP_MAX_`` and ``MALLOC_TRIM_THRESHOLD_`` take precedence.
    """
    return _mallopt((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER))
