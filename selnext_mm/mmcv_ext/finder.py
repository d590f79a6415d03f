"""Provides ``mmcv._ext`` if there is no such file. Imports neither torch nor mmcv."""

import importlib
import importlib.abc
import importlib.util
import sys

NAME = 'mmcv._ext'


class OperatorFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Creates ``mmcv._ext`` from :mod:`selnext_mm.mmcv_ext.module`.

    It is last in ``sys.meta_path`` and is used only if no other finder has found the module. So a
    compiled module, or a file from :mod:`~selnext_mm.mmcv_ext.install`, takes precedence.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname != NAME:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin='selnext_mm.mmcv_ext')

    def exec_module(self, module) -> None:
        from selnext_mm.mmcv_ext.module import fill

        fill(vars(module))


def provide() -> None:
    """Let ``import mmcv._ext`` succeed from now on. Calling it again changes nothing."""
    if not any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        sys.meta_path.append(OperatorFinder())
        # Python may have cached that an earlier import of mmcv.ops did not find it.
        importlib.invalidate_caches()
