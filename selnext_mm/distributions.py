"""The parts of ``pkg_resources`` that mmengine uses, based on ``importlib.metadata``.

setuptools 82 dropped ``pkg_resources``, which mmengine 0.10.7 imports whenever a config inherits
from a package (``mmdet::...``). Imports nothing but the standard library.
"""

import importlib.abc
import importlib.util
import sys
from importlib import metadata

NAME = 'pkg_resources'


class DistributionNotFound(Exception):  # noqa: N818 - setuptools' name
    """No such distribution is installed."""


class Distribution:
    """An installed distribution: ``project_name``, ``version``, ``location`` and its metadata.

    Raises:
        DistributionNotFound: if no distribution has this name.
    """

    def __init__(self, name: str) -> None:
        try:
            self._found = metadata.distribution(name)
        except (metadata.PackageNotFoundError, ValueError) as error:
            raise DistributionNotFound(name) from error
        self.project_name, self.version = name, self._found.version
        self.location = str(self._found.locate_file(''))

    def has_metadata(self, file: str) -> bool:
        return self._found.read_text(file) is not None

    def get_metadata(self, file: str) -> str:
        return self._found.read_text(file) or ''


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Provides ``pkg_resources``; it is the last finder, so setuptools' own takes precedence."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != NAME:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=__name__)

    def exec_module(self, module) -> None:
        module.DistributionNotFound = DistributionNotFound
        module.get_distribution = Distribution


def provide() -> None:
    """Let ``import pkg_resources`` succeed from now on. Calling it again changes nothing."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
        importlib.invalidate_caches()
