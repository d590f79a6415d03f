"""Check that the package of a config's ``default_scope`` is installed, or say how to get it."""

from importlib.util import find_spec

from mmengine.config import Config

from selnext_mm.errors import UserError

# Scope -> name of the project, and what installs it without our extra.
OPTIONAL = {'mmseg': ('MMSegmentation', "'selnext_mm[mmseg]'", 'mmsegmentation==1.2.2 ftfy regex')}


def check_scope(cfg: Config) -> None:
    """Raise :class:`UserError` if the optional package of ``cfg.default_scope`` is not installed.

    mmengine's registries would treat it as an empty package.
    """
    scope = cfg.get('default_scope')
    if scope in OPTIONAL and find_spec(scope) is None:
        name, extra, packages = OPTIONAL[scope]
        raise UserError(
            f'{cfg.filename or "the config"} needs {name}, which is not installed: pip install '
            f'{extra} (or: pip install {packages})'
        )
