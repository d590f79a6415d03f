"""Work-arounds for mmengine's configs, each with its reason and the condition to skip it.

:func:`selnext_mm.compat.apply` calls ``apply()`` when ``selnext_mm`` is imported.
"""

import functools
import importlib.util
from collections.abc import Mapping


def open_config_namespace() -> None:
    """Let configs inherit ``selnext_mm::mask_rcnn/selnext_t_3x_coco.py``.

    mmengine resolves such names only for a fixed list of packages (mmengine issue 1410), and
    takes the folder from the distribution, which is wrong for an editable install. For a name
    that is not a distribution it takes the module's folder, so the module name is registered.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault('selnext_mm', 'selnext_mm.config_files')


def find_external_bases_at_once() -> None:
    """Find ``pkg::_base_/...`` without reloading ``pkg_resources`` and reading all metafiles.

    mmengine 0.10.7 reloads it to check that the package is installed, and looks every name up in
    the package's metafiles, a hundred YAML files for mmdet, though none of them lists a base. That
    takes a second for each base of a config. Names of other configs are looked up as before. No
    effect if mmengine has no such functions.
    """
    from mmengine.config import config

    installed = getattr(config, 'is_installed', None)
    find = getattr(config, '_get_external_cfg_path', None)
    if installed is None or find is None or find.__module__ == __name__:
        return

    def is_installed(package: str) -> bool:
        # A namespace package without files, such as an empty folder, is left to mmengine.
        spec = importlib.util.find_spec(package)
        return (spec is not None and spec.origin is not None) or installed(package)

    def get_external_cfg_path(package_path: str, cfg_file: str) -> str:
        if cfg_file.startswith('_base_/'):
            raise ValueError(f'{cfg_file} is a base, which no metafile lists')
        return find(package_path, cfg_file)

    config.is_installed = is_installed
    config._get_external_cfg_path = get_external_cfg_path


def format_texts_once() -> None:
    """Cache the last strings that ``Config.pretty_text`` has formatted.

    mmengine 0.10.7 formats the whole config again for each use: the message hub, the log, two files
    of the work dir and every checkpoint. Each time yapf takes 1.2 s for a COCO config. Equal input
    has equal output. No effect if mmengine formats in another way.
    """
    from mmengine.config import config

    format_code = getattr(config, 'FormatCode', None)
    if format_code is None or hasattr(format_code, '__wrapped__'):
        return

    @functools.lru_cache(maxsize=8)
    def formatted(text: str, style: tuple, options: tuple):
        return format_code(text, style_config=dict(style), **dict(options))

    @functools.wraps(format_code)
    def format_once(text: str, style_config: dict, **options):
        return formatted(text, tuple(style_config.items()), tuple(options.items()))

    config.FormatCode = format_once


def build_inherited_loaders() -> None:
    """Build loaders whose ``collate_fn`` or ``worker_init_fn`` comes from another package's config.

    mmengine marks what is inherited as ``pkg::...`` with ``_scope_``, and passes the mark of these
    two to the function, which does not accept it (0.10.7). They are found without it, as in the
    inherited config. No effect on loaders without the mark.
    """
    from mmengine.runner import FlexibleRunner, Runner

    def without_mark(function):
        if not isinstance(function, Mapping):
            return function
        return {key: value for key, value in function.items() if key != '_scope_'}

    def wrap(build):
        @functools.wraps(build)
        def build_dataloader(dataloader, *args, **options):
            if isinstance(dataloader, Mapping):
                functions = ('collate_fn', 'worker_init_fn')
                own = {key: without_mark(dataloader[key]) for key in functions if key in dataloader}
                dataloader = {**dataloader, **own}
            return build(dataloader, *args, **options)

        return staticmethod(build_dataloader)

    for runner in (Runner, FlexibleRunner):
        if not hasattr(runner.build_dataloader, '__wrapped__'):
            runner.build_dataloader = wrap(runner.build_dataloader)


def apply() -> None:
    build_inherited_loaders()
    open_config_namespace()
    find_external_bases_at_once()
    format_texts_once()
