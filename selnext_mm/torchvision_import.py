"""The import of torchvision where its compiled operators cannot be loaded; nothing before that."""

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

NAME = 'torchvision'
# What its module-level registrations ask for.
SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
# A library's definitions vanish with the object.
_kept_libraries: list = []


def declared() -> bool:
    """Whether the schemas had to be declared here."""
    return bool(_kept_libraries)


class MendingLoader(importlib.abc.Loader):
    """Runs torchvision's own loader, and again with its operators declared if it misses them."""

    def __init__(self, loader) -> None:
        self.loader = loader

    def __getattr__(self, name: str):
        return getattr(self.loader, name)

    def create_module(self, spec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module is as if nobody had been between.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        try:
            self.loader.exec_module(module)
        except RuntimeError as error:
            if f'{NAME}::' not in str(error):
                raise
        else:
            return
        for name in [m for m in sys.modules if m.startswith(f'{NAME}.')]:
            del sys.modules[name]
            vars(module).pop(name.split('.')[1], None)
        import torch

        library = torch.library.Library(NAME, 'FRAGMENT')
        for schema in SCHEMAS:
            library.define(schema)
        _kept_libraries.append(library)
        self.loader.exec_module(module)


class TorchvisionFinder(importlib.abc.MetaPathFinder):
    """Finds torchvision where the others do, and gives it a :class:`MendingLoader`."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != NAME:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, 'find_spec'):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    # A folder without __init__.py has a loader that runs nothing.
                    if spec.loader is not None and spec.origin is not None:
                        spec.loader = MendingLoader(spec.loader)
                    return spec
        return None


def repair() -> None:
    """Let ``import torchvision`` succeed from now on; calling it again changes nothing."""
    if not any(isinstance(finder, TorchvisionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchvisionFinder())
