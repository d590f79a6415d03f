"""Memory of a process that serves for weeks."""

import ctypes
import os
import sys

M_ARENA_MAX = -8  # of mallopt(3)
SETTING = 'MALLOC_ARENA_MAX'


def share_arenas(count: int = 1) -> bool:
    """Let all threads share ``count`` malloc arenas of glibc; return whether this succeeded.

    By default glibc gives threads separate arenas, up to 8 per core. Memory that a request frees in
    one is not available to a request in another, so the process grew long after its first requests.
    This has to be called before there are threads. The environment variable :data:`SETTING` takes
    precedence if it is set; other C libraries have no such arenas.
    """
    if not sys.platform.startswith('linux') or os.environ.get(SETTING):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return bool(mallopt and mallopt(M_ARENA_MAX, count))
