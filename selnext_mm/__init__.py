"""SELNeXt for MMDetection and MMPretrain.

Importing the package applies the work-arounds of :mod:`selnext_mm.compat` and registers all
modules in mmengine's root registries, so that ``type='SELNeXt'`` works in every scope.
"""

import os
import sys
from importlib.util import find_spec

__version__ = '0.1.0'


def _is_doctor() -> bool:
    """Is this process ``selnext-mm doctor``? It has to start where nothing can be imported."""
    names = map(os.path.basename, sys.orig_argv)
    ours = any(name.startswith(('selnext-mm', 'selnext_mm')) for name in names)
    return ours and sys.argv[1:2] == ['doctor']


# Without torch or mmengine only the environment check can run, and it has to.
if find_spec('torch') and find_spec('mmengine') and not _is_doctor():
    from selnext_mm import compat

    compat.apply()
    from selnext_mm import engine, evaluation, models  # noqa: F401
