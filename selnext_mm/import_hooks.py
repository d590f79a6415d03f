"""Code that runs around the import of third-party modules, when they are imported.

It imports only the standard library, and causes no import earlier than without it.
"""

import builtins
import importlib
import importlib.abc
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

Execute = Callable[[ModuleType], None]


class _Loader(importlib.abc.Loader):
    """Wraps a module's own loader, and is removed before the module runs."""

    def __init__(self, loader, around: Callable[[ModuleType, Execute], None]) -> None:
        self.loader, self.around = loader, around

    def __getattr__(self, name: str):
        return getattr(self.loader, name)

    def create_module(self, spec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.around(module, self.loader.exec_module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules by the other finders, and gives them a :class:`_Loader`."""

    def __init__(self, names: frozenset[str], around) -> None:
        self.names, self.around = names, around

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self.names:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, 'find_spec'):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                # The loader of a folder without __init__.py runs nothing.
                if spec.loader is not None and spec.origin is not None:
                    spec.loader = _Loader(spec.loader, self.around)
                return spec
        return None


def around_import(names: Iterable[str], around: Callable[[ModuleType, Execute], None]) -> None:
    """Call ``around(module, execute)`` in place of running a module of ``names``.

    ``execute(module)`` runs it as without the hook. A second call for the same modules changes
    nothing; modules that have already been imported stay as they are.
    """
    wanted = frozenset(names)
    if not any(isinstance(f, _Finder) and f.names == wanted for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder(wanted, around))


class Deferred:
    """Placeholder for a library, or an object in it, that is imported when it is called.

    Its attributes are deferred too, so that ``from library.part import function`` imports
    nothing. ``isinstance`` with it checks against the real class.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f'<{self._path}, imported when it is called>'

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)
        return Deferred(f'{self._path}.{name}')

    def __call__(self, *args, **kwargs):
        return self._resolve()(*args, **kwargs)

    def __instancecheck__(self, instance) -> bool:
        return isinstance(instance, self._resolve())

    def _resolve(self) -> Any:
        top, *rest = self._path.split('.')
        value, name = importlib.import_module(top), top
        for part in rest:
            name = f'{name}.{part}'
            if not hasattr(value, part):
                importlib.import_module(name)
            value = getattr(value, part)
        return value


def defer(libraries: Iterable[str], users: Iterable[str]) -> None:
    """Let the modules ``users`` import ``libraries`` only when they call something in them.

    A library that is not installed raises at once, as the modules expect.
    """
    wanted = tuple(libraries)

    def import_later(name, globals=None, locals=None, fromlist=(), level=0):
        top = name.partition('.')[0]
        if level or top not in wanted or importlib.util.find_spec(top) is None:
            return builtins.__import__(name, globals, locals, fromlist, level)
        return Deferred(name if fromlist else top)

    def around(module: ModuleType, execute: Execute) -> None:
        # Import statements look up `__import__` in the builtins; replaced for this module only.
        vars(module)['__builtins__'] = {**vars(builtins), '__import__': import_later}
        execute(module)

    around_import(users, around)


class Late(type):
    """The metaclass of a placeholder for a class whose module runs on first use.

    Calling it, subclassing it and reading an attribute use the real class. Before that, nothing is
    an instance or a subclass of it.
    """

    _load: Callable[[], type] | None
    _real: type | None

    def __new__(mcs, name: str, bases: tuple = (), space: dict | None = None, load=None):
        if not bases:
            return super().__new__(mcs, name, (), dict(space or {}, _load=load, _real=None))
        real = tuple(base.resolve() if isinstance(base, Late) else base for base in bases)
        return type(real[0])(name, real, space)

    def __init__(cls, *args, **kwargs) -> None:
        pass

    def resolve(cls) -> type:
        """The real class."""
        if cls._real is None:
            cls._real = cls._load()
        return cls._real

    def __call__(cls, *args, **kwargs):
        return cls.resolve()(*args, **kwargs)

    def __getattr__(cls, name: str):
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(cls.resolve(), name)

    @property
    def __signature__(cls) -> inspect.Signature:
        return inspect.signature(cls.resolve())

    def __instancecheck__(cls, instance) -> bool:
        return cls._real is not None and isinstance(instance, cls._real)

    def __subclasscheck__(cls, other) -> bool:
        return other is cls or (cls._real is not None and issubclass(other, cls._real))


def register_late(module: str, name: str, registry: Callable[[], Any]) -> None:
    """Run ``module``, which registers the class ``name``, when that class is used.

    Args:
        registry: called when the module is imported; returns the registry of mmengine.
    """

    def around(imported: ModuleType, execute: Execute) -> None:
        place = registry()

        def load() -> type:
            place._module_dict.pop(name, None)
            execute(imported)
            return getattr(imported, name)

        late = Late(name, load=load)
        late.__module__ = module
        place.register_module(module=late)
        setattr(imported, name, late)

    around_import([module], around)
