"""Registries of the scope ``selnext_mm``: empty children of mmengine's registries.

Modules are registered in mmengine's root registries. mmengine gives the dicts of an inherited
config (``_base_ = 'selnext_mm::...'``) that package's scope; without registries of this scope it
would warn at every build. A name means the same as in the recipe: it is first looked up in the
scope of the config that is being built (``default_scope``, which a recipe sets itself). The reason
is that mmcv, whose transforms are in the root, has classes of the same names as mmdet and
mmpretrain (``RandomCrop``, ``LoadAnnotations``). Then come the root, mmdet, mmpretrain and mmseg.
"""

from importlib.util import find_spec

from mmengine import registry as root
from mmengine.registry import DefaultScope, Registry

SCOPE = 'selnext_mm'
FALLBACK_SCOPES = ('mmdet', 'mmpretrain', 'mmseg')


def _outer_scope() -> str | None:
    """The innermost enclosing scope of another package; None if there is none."""
    names = [instance.scope_name for instance in DefaultScope._instance_dict.values()]
    outer = next((name for name in reversed(names) if name not in (SCOPE, 'mmengine')), None)
    return outer if outer and outer.isidentifier() and find_spec(outer) else None


class ScopeRegistry(Registry):
    """A child registry that looks names up in the config's scope, the root and other packages."""

    def get(self, key: str):
        if '.' in key:
            return super().get(key)
        outer = _outer_scope()
        found = self.parent.get(f'{outer}.{key}') if outer else None
        if found is None:
            found = super().get(key)
        scopes = iter(FALLBACK_SCOPES)
        while found is None and (scope := next(scopes, None)):
            if find_spec(scope):
                found = self.parent.get(f'{scope}.{key}')
        return found


def _children() -> dict[str, Registry]:
    children = {}
    for name, registry in vars(root).items():
        if name.isupper() and isinstance(registry, Registry) and registry.parent is None:
            children[name] = ScopeRegistry(
                registry.name, parent=registry, scope=SCOPE, locations=['selnext_mm.models']
            )
    return children


globals().update(_children())
