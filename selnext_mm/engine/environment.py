"""mmengine's description of the machine, without the error output of its shell commands."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.utils.dl_utils import collect_env


@contextmanager
def _errors_aside() -> Iterator[None]:
    """Redirect stderr (descriptor 2) of this process and its children to a file."""
    try:
        kept = os.dup(2)
    except OSError:  # closed, as in a service
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def describe_environment() -> dict:
    """``collect_env`` of mmengine: versions, devices, compilers.

    It runs the compiler that Python was built with; without one the shell's "gcc: not found" would
    appear in the log of a training that needs no compiler.
    """
    with _errors_aside():
        return collect_env()
