"""Classes that derive from other packages: registered by name, imported when first built.

mmdet and mmpretrain are optional, and importing them with this package would make every start
slower by a third. A name whose package is not installed is not registered.
"""

from importlib import import_module
from importlib.util import find_spec

from selnext_mm.errors import UserError
from selnext_mm.framework import MODELS

# class -> (its module, the package that it derives from)
BACKBONES = {
    'NAMobileNetV2': ('.backbones.na_mobilenet_v2', 'mmpretrain'),
    'NAResNet': ('.backbones.na_resnet', 'mmdet'),
}
LAZY = {**BACKBONES, 'FCMAE': ('.selfsup.fcmae', 'mmpretrain')}


def load(name: str) -> type:
    """The class called ``name``, one of :data:`LAZY`.

    Raises:
        UserError: if the package that it derives from is not installed.
    """
    module, package = LAZY[name]
    if find_spec(package) is None:
        timm = '. With timm alone, import selnext_mm.timm has the same network'
        raise UserError(
            f"{name} derives from {package}'s class, and {package} is not installed: pip install "
            f'{package}{timm if name in BACKBONES else ""}'
        )
    return getattr(import_module(module, __package__), name)


def _builder(name: str):
    def build(*args, **kwargs):
        return load(name)(*args, **kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f'Import and build :class:`{__package__}{LAZY[name][0]}.{name}`.'
    return build


def register() -> None:
    """Register every class of :data:`LAZY` whose package is installed."""
    for name, (_, package) in LAZY.items():
        if find_spec(package):
            MODELS.register_module(name=name, module=_builder(name))
