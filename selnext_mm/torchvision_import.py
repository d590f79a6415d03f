"""Import torchvision without torch's compiler, and even if its operators cannot be loaded.

Nothing is imported before torchvision itself is.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

from selnext_mm import import_hooks

NAME = 'torchvision'
DYNAMO, UTILS = 'torch._dynamo', 'torch._dynamo.utils'
# The schemas that its module-level registrations need.
SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
# Must stay alive: a library's definitions vanish with the object.
_kept_libraries: list = []


def declared() -> bool:
    """Whether the schemas had to be declared here."""
    return bool(_kept_libraries)


class Later(ModuleType):
    """Placeholder for a module that is imported on first use."""

    def __getattr__(self, name: str):
        # The import system and inspect read these from every module; UTILS is not a package.
        if name.startswith('__') and (self.__name__, name) != (DYNAMO, '__path__'):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    for other in (UTILS, DYNAMO):
        if isinstance(sys.modules.get(other), Later):
            del sys.modules[other]
    return importlib.import_module(name)


def is_compile_supported(device_type: str) -> bool:
    """torch's own answer, which loads its compiler."""
    return _real(UTILS).is_compile_supported(device_type)


@contextlib.contextmanager
def compiler_later() -> Iterator[None]:
    """Inside it, what torchvision imports from torch's compiler is not loaded yet.

    ``torchvision.ops.roi_align`` imports one function that only ``torch.compile`` needs, and with
    it the whole compiler, a fifth of the start-up time of our commands. No effect if the compiler
    is already loaded; using anything else of it loads it.
    """
    if DYNAMO in sys.modules:
        yield
        return
    sys.modules[DYNAMO], sys.modules[UTILS] = Later(DYNAMO), Later(UTILS)
    vars(sys.modules[UTILS])['is_compile_supported'] = is_compile_supported
    try:
        yield
    finally:
        for name in (UTILS, DYNAMO):
            if isinstance(sys.modules.get(name), Later):
                del sys.modules[name]


def _mend(module: ModuleType, execute: import_hooks.Execute) -> None:
    """Run torchvision; if its operators are missing, declare them and run it again."""
    with compiler_later():
        try:
            execute(module)
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
        execute(module)


def repair() -> None:
    """Let ``import torchvision`` succeed from now on; calling it again changes nothing."""
    import_hooks.around_import([NAME], _mend)
