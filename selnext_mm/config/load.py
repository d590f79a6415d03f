"""From a config file and command-line options to the config that the runner gets."""

import copy
import os
from pathlib import Path
from traceback import extract_tb

from mmengine.config import Config

from selnext_mm.config.option_keys import check_options
from selnext_mm.config.structure import check_structure
from selnext_mm.config.type_names import name_types
from selnext_mm.config.walk import iter_datasets, iter_evaluators
from selnext_mm.config_files import SUFFIXES, find_config
from selnext_mm.errors import UserError

IMPORTS = "expected dict(imports=['module', ...], allow_failed_imports=False), the names as strings"
IMPORTER = 'import_modules_from_strings'  # in mmengine
FOLDERS = ('data_root', 'work_dir', 'out_dir', 'save_dir')  # keys whose value may be "~"


def load_config(name: str | Path, options: dict | None = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Raises:
        UserError: for a missing file, an invalid config, or options that cannot be merged.
    """
    path = find_config(name)
    if path.suffix not in SUFFIXES:
        raise UserError(f'{path}: a config ends in .py, .yaml or .json')
    try:
        cfg = Config.fromfile(path)
    # A config is executed as Python, so any exception in it is an error of the config.
    except (Exception, SystemExit) as error:
        reason = f'{type(error).__name__}: {error}'.strip().splitlines()[0]
        if isinstance(error, SyntaxError) and error.filename in (None, '<unknown>'):
            code = f' ({error.text.strip()})' if error.text else ''
            reason = f'{type(error).__name__} in line {error.lineno}{code}: {error.msg}'
        if isinstance(error, ImportError):
            reason = _missing(error)
        elif isinstance(error, TypeError) and _of_custom_imports(error):
            reason = f'custom_imports: {IMPORTS}'
        if isinstance(error, ImportError) or 'is used but incompatible' in reason:
            reason += '. "selnext-mm doctor" checks the environment'
        raise UserError(f'cannot read the config {path}: {reason}') from error
    cfg = merge_options(cfg, options)
    if 'model' not in cfg:
        raise UserError(f'{path} defines no model: it is a base config; name one that inherits it')
    return cfg


def _of_custom_imports(error: BaseException) -> bool:
    """Whether ``custom_imports`` itself failed, and not a module that it names."""
    last = extract_tb(error.__traceback__)[-1].name
    return last == IMPORTER or f'{IMPORTER}()' in str(error)


def _missing(error: ImportError) -> str:
    """What could not be imported, and why.

    For ``custom_imports`` mmengine reports only that some failed; the causes are earlier in the
    chain of exceptions.
    """
    chain: list[BaseException] = [error]
    while (earlier := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(earlier)
    lines = [str(e).strip().splitlines()[0] for e in chain if str(e).strip()]
    if not lines:
        return type(error).__name__
    if lines[0].startswith('Failed to import custom modules'):
        return f'custom_imports: {": ".join(lines[1:])}'
    return f'{type(error).__name__}: {lines[0]}'


def merge_options(cfg: Config, options: dict | None) -> Config:
    """``cfg`` with ``options`` merged into it as by ``--cfg-options``: dotted keys are nested.

    Raises:
        UserError: for options that cannot be merged, or parts of the wrong type.
    """
    name_types(cfg)
    before = copy.deepcopy(_init_cfg(cfg))
    if options:
        check_options(cfg, options)
        try:
            cfg.merge_from_dict(options)
        except (LookupError, TypeError, AssertionError, AttributeError, ValueError) as error:
            raise UserError(f'cannot merge --cfg-options {options}: {error}') from error
    check_structure(cfg)
    if 'model' in cfg:
        init_cfg = _init_cfg(cfg)
        own = init_cfg is None or init_cfg != before
        if own and cfg.get('pretrained') is not None and 'pretrained' not in (options or {}):
            # A changed init_cfg of the backbone takes precedence; else it would have no effect.
            cfg.pretrained = init_cfg.get('checkpoint') if isinstance(init_cfg, dict) else None
        apply_pretrained(cfg)
    expand_home(cfg)
    return cfg


def _init_cfg(cfg: Config):
    """The backbone's ``init_cfg``; {} if it is not set."""
    model = cfg.get('model')
    backbone = model.get('backbone') if isinstance(model, dict) else None
    return backbone.get('init_cfg', {}) if isinstance(backbone, dict) else {}


def expand_home(cfg: Config) -> None:
    """Expand the ``~`` at the start of every path in the config, in place."""
    for key, value in list(cfg.items()):
        if (expanded := _expanded(value, key)) is not value:
            cfg[key] = expanded


def _expanded(node, key: str):
    """``node``, the value of ``key``, with paths expanded; the same object if nothing changes."""
    if isinstance(node, str):
        # "~" alone may be a name, for instance of a class.
        path = node.startswith('~') and ('/' in node or key in FOLDERS)
        return os.path.expanduser(node) if path else node
    if isinstance(node, dict):
        for name, value in list(node.items()):
            if (new := _expanded(value, name)) is not value:
                node[name] = new
    elif isinstance(node, list | tuple):
        items = [_expanded(value, key) for value in node]
        if any(new is not value for new, value in zip(items, node, strict=True)):
            return type(node)(items)
    return node


def apply_pretrained(cfg: Config) -> None:
    """Copy the top-level ``pretrained``, which ``--cfg-options`` can set, to the backbone.

    Raises:
        UserError: if the model has no ``backbone.init_cfg`` for it.
    """
    pretrained = cfg.get('pretrained')
    if pretrained is None:
        return
    backbone = cfg.model.get('backbone')
    if backbone is None:
        raise UserError('pretrained is set, but the model of this config has no backbone')
    init_cfg = backbone.get('init_cfg') or {}
    if not isinstance(init_cfg, dict):
        raise UserError('pretrained is set, but model.backbone.init_cfg is a list; set it there')
    backbone.init_cfg = dict(
        init_cfg, type='Pretrained', checkpoint=pretrained, prefix=init_cfg.get('prefix')
    )


def default_work_dir(config_path: str | Path) -> str:
    """``work_dirs/<folder>/<stem>``, since configs in different folders may share a name."""
    path = Path(config_path)
    parts = path.with_suffix('').parts
    if 'configs' in parts:
        last = len(parts) - 1 - parts[::-1].index('configs')
        relative = Path(*parts[last + 1 :])
    else:
        relative = Path(path.resolve().parent.name, path.stem)
    return str(Path('work_dirs') / relative)


def _check_one_root(cfg: Config) -> None:
    """Raise :class:`UserError` if a loader combines folders; a single root would merge them."""
    roots: dict[str, list[str]] = {}
    for name, dataset in iter_datasets(cfg):
        root = str(dataset.get('data_root') or '').rstrip('/')
        if root not in roots.setdefault(name, []):
            roots[name].append(root)
    for name, several in roots.items():
        if len(several) > 1:
            raise UserError(
                f'--data-root: {name} joins data of {len(several)} folders ({", ".join(several)}), '
                'and one root would make them the same; set data_root in each data set instead'
            )


def set_data_root(cfg: Config, data_root: str | Path) -> None:
    """Make every dataset and every evaluator's annotation file use ``data_root``, in place.

    Raises:
        UserError: for a loader that combines data of several folders.
    """
    new = os.path.expanduser(data_root)
    _check_one_root(cfg)
    old_roots = []
    for _, dataset in iter_datasets(cfg):
        old = dataset.get('data_root')
        if old:
            old_roots.append(str(old).rstrip('/'))
        dataset['data_root'] = new
    for _, evaluator in iter_evaluators(cfg):
        ann_file = evaluator.get('ann_file')
        if not ann_file:
            continue
        inside = next((r for r in old_roots if str(ann_file).startswith(r + '/')), None)
        if inside:
            evaluator['ann_file'] = os.path.join(new, str(ann_file)[len(inside) + 1 :])
        elif not os.path.isabs(ann_file):
            evaluator['ann_file'] = os.path.join(new, ann_file)
    if 'data_root' in cfg:
        cfg.data_root = new
