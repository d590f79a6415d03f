"""Memory of a process that serves for weeks."""

import ctypes
import os
import sys

M_ARENA_MAX = -8  # of mallopt(3)
SETTING = 'MALLOC_ARENA_MAX'


def share_arenas(count: int = 1) -> bool:
    """Let all threads take memory from ``count`` arenas of glibc; whether that could be done.

    glibc gives threads arenas of their own, 8 for each core. What a request leaves free in one is
    no use to the next request in another, so the process grew long after its first requests. It
    has to be called before there are threads. :data:`SETTING` of the environment counts if it is
    set, and other C libraries have no such arenas.
    """
    if not sys.platform.startswith('linux') or os.environ.get(SETTING):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return bool(mallopt and mallopt(M_ARENA_MAX, count))
