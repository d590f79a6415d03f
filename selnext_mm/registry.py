"""Registries of the scope ``selnext_mm``: children of mmengine's that hold nothing themselves.

Modules are registered in mmengine's root registries. mmengine gives the dicts of an inherited
config (``_base_ = 'selnext_mm::...'``) that package's scope; without registries of this scope it
would warn at every build. Names that the root lacks are looked up in mmdet, then in mmpretrain.
"""

from importlib.util import find_spec

from mmengine import registry as root
from mmengine.registry import Registry

FALLBACK_SCOPES = ('mmdet', 'mmpretrain')


class ScopeRegistry(Registry):
    """A child registry that finds what the root, mmdet or mmpretrain know."""

    def get(self, key: str):
        found = super().get(key)
        if found is not None or '.' in key:
            return found
        for scope in FALLBACK_SCOPES:
            if find_spec(scope):
                found = self.parent.get(f'{scope}.{key}')
                if found is not None:
                    return found
        return None


def _children() -> dict[str, Registry]:
    children = {}
    for name, registry in vars(root).items():
        if name.isupper() and isinstance(registry, Registry) and registry.parent is None:
            children[name] = ScopeRegistry(
                registry.name, parent=registry, scope='selnext_mm', locations=['selnext_mm.models']
            )
    return children


globals().update(_children())
