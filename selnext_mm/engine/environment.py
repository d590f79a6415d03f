"""mmengine's facts on the machine, without what its shell commands say on the screen."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.utils.dl_utils import collect_env


@contextmanager
def _errors_aside() -> Iterator[None]:
    """What this process and its children write to the second descriptor goes to a file."""
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

    It asks a shell for the compiler that Python was built with; where there is none the shell's
    "gcc: not found" would stand in the log of a training that needs no compiler.
    """
    with _errors_aside():
        return collect_env()
