"""SELNeXt for MMDetection and MMPretrain.

Importing the package applies the work-arounds of :mod:`selnext_mm.compat` and registers all
modules in mmengine's root registries, so that ``type='SELNeXt'`` works in every scope.
"""

import functools
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

__version__ = '0.1.0'

# Public names -> module; imported on first use.
EXPORTS = {
    'Session': 'engine.session',
    'UserError': 'errors',
    'check_data': 'recipes.check',
    'export_model': 'export.run',
    'train': 'recipes.run',
}
__all__ = ['Session', 'UserError', 'check_data', 'export_model', 'train']

if TYPE_CHECKING:  # for editors
    from selnext_mm.engine.session import Session
    from selnext_mm.errors import UserError
    from selnext_mm.export.run import export_model
    from selnext_mm.recipes.check import check_data
    from selnext_mm.recipes.run import train


@functools.cache
def register_modules() -> None:
    """Apply the work-arounds and register every class; a second call does nothing."""
    from selnext_mm import compat

    compat.apply()
    from selnext_mm import engine, evaluation, models  # noqa: F401

    for name in engine.EXPORTS:
        getattr(engine, name)


def __getattr__(name: str):
    if name not in EXPORTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        module = import_module(f'{__name__}.{EXPORTS[name]}')
    except ModuleNotFoundError as error:
        raise ImportError(
            f'selnext_mm.{name} needs {error.name}, which is not installed: '
            "pip install 'selnext_mm[mm]'"
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})


def _is_command() -> bool:
    """Whether this process is ``selnext-mm``.

    The command line itself registers the modules when a command needs them, so ``--help`` need not
    wait for torch, and ``doctor`` starts where nothing can be imported.
    """
    words = iter(sys.orig_argv[1:])  # not sys.argv, which spawned processes inherit
    for word in words:
        if word == '-m':
            return next(words, '') == __name__
        if word in ('-X', '-W'):
            next(words, '')
        elif not word.startswith('-'):
            return os.path.basename(word) == 'selnext-mm'
    return False


# Without torch or mmengine the environment check still has to run.
if find_spec('torch') and find_spec('mmengine') and not _is_command():
    register_modules()
