"""How a process waits for its threads and keeps its memory."""

import os
import platform
import subprocess
import sys

import pytest

from selnext_mm.process import SPINS, WAITING, wait_briefly

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='mallopt is that of glibc')

# What glibc says of its arenas after 12 threads have taken memory and given it back.
COUNT = """
import ctypes, sys, threading
from selnext_mm.process import share_arenas
done = sys.argv[1] == 'shared' and share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.fdopen.restype = ctypes.c_void_p
together = threading.Barrier(12)
def work():
    together.wait()
    place = libc.malloc(100_000)
    together.wait()
    libc.free(ctypes.c_void_p(place))
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(done, flush=True)
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b'w')))
libc.fflush(None)
"""


def answer(how, **env):
    env = {k: v for k, v in os.environ.items() if k != 'MALLOC_ARENA_MAX'} | env
    done = subprocess.run(
        [sys.executable, '-c', COUNT, how], capture_output=True, text=True, env=env, check=True
    )
    return done.stdout.startswith('True'), done.stdout.count('<heap nr')


# Page faults of filling a block of 64 MB, with what the one before it has freed.
FAULTS = """
import ctypes, resource, sys
from selnext_mm.process import keep_freed_memory
done = sys.argv[1] == 'kept' and keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = libc.malloc(2**26)
    ctypes.memset(place, 1, 2**26)
    libc.free(ctypes.c_void_p(place))
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(
    ('chosen', 'expected'),
    [
        ({}, ('PASSIVE', str(SPINS))),
        ({'OMP_WAIT_POLICY': 'ACTIVE'}, ('ACTIVE', None)),
        ({'GOMP_SPINCOUNT': '7'}, (None, '7')),
    ],
)
def test_idle_threads_wait_briefly_unless_the_user_has_chosen(chosen, expected, monkeypatch):
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    for name in WAITING:
        monkeypatch.setenv(name, 'x')
        monkeypatch.delenv(name)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    wait_briefly()
    assert tuple(map(os.environ.get, WAITING[:2])) == expected


def faults(how, **env):
    env = {k: v for k, v in os.environ.items() if not k.startswith('MALLOC_')} | env
    line = [sys.executable, '-c', FAULTS, how]
    done, count = subprocess.run(
        line, capture_output=True, text=True, env=env, check=True
    ).stdout.split()
    return done == 'True', int(count)


@pytest.mark.integration
@GLIBC
def test_freed_memory_is_used_again():
    kept, few = faults('kept')
    returned, many = faults('returned')
    assert (kept, returned) == (True, False)
    assert few < 100 < 1000 < many  # 16384 pages of 4 kB
    assert faults('kept', MALLOC_MMAP_MAX_='65536')[0] is False, 'what the user has set counts'


@pytest.mark.slow
@pytest.mark.integration
@GLIBC
def test_one_arena_serves_all_threads():
    own, arenas = answer('own')
    assert (own, arenas > 1) == (False, True)
    assert answer('shared') == (True, 1)
    assert answer('shared', MALLOC_ARENA_MAX='3')[0] is False, 'what the user has set counts'
