"""The threads of a server share what one of them has left free."""

import os
import platform
import subprocess
import sys

import pytest

# What glibc says of its arenas after 12 threads have taken memory and given it back.
COUNT = """
import ctypes, sys, threading
from selnext_mm.serve.memory import share_arenas
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


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='arenas are those of glibc')
def test_one_arena_serves_all_threads():
    own, arenas = answer('own')
    assert (own, arenas > 1) == (False, True)
    assert answer('shared') == (True, 1)
    assert answer('shared', MALLOC_ARENA_MAX='3')[0] is False, 'what the user has set counts'
