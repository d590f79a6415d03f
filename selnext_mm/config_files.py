"""Find the package's configs, in a checkout or in an installed wheel."""

import re
from pathlib import Path

from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean, near

PACKAGE = Path(__file__).resolve().parent
OWN_CONFIG = 'config.py'  # in the folder of a run, or in a published folder
SUFFIXES = ('.py', '.yaml', '.yml', '.json')


def config_root() -> Path:
    """Folder that contains ``mask_rcnn/``, ``cls/``, ...: the checkout's, else the wheel's."""
    checkout = PACKAGE.parent / 'configs'
    return checkout if (checkout / '_base_').is_dir() else PACKAGE / '.mim' / 'configs'


def config_leaves() -> list[str]:
    """All runnable configs, as paths relative to :func:`config_root`."""
    root = config_root()
    paths = (p.relative_to(root) for p in root.rglob('*.py'))
    return sorted(p.as_posix() for p in paths if p.parts[0] != '_base_')


def long_names() -> dict[str, str]:
    """Unique name in OpenMMLab's style, as ``mim search`` lists it -> one of the leaves."""
    names = {}
    for leaf in config_leaves():
        first = (config_root() / leaf).read_text(encoding='utf-8').split('\n', 1)[0]
        names[first.removeprefix('# long name:').split()[0]] = leaf
    return names


def refuse_address(name: str | Path) -> None:
    """Raise :class:`UserError` for an ``hf://`` address: configs from there are not run."""
    match = re.match('hf:/{1,2}([^/@]+/[^/@]+)(?:@([^/]+))?', str(name))
    if match is not None:
        repo, revision = match.groups()
        pinned = f' --revision {revision}' if revision else ''
        raise UserError(
            f'{name}: a config is a program, and none is taken from the Hub, only weights. Fetch '
            f'the folder (hf download {repo}{pinned} --local-dir DIR), read its config.py, and '
            'give DIR instead ("selnext-mm predict DIR IMAGES"); or give a config of your own, and '
            'the address as its checkpoint'
        )


def find_config(name: str | Path) -> Path:
    """Path of a config: as given, or relative to :func:`config_root`, or by its long name.

    ``configs/cls/x.py``, ``cls/x.py`` and ``selnext_mm::cls/x.py`` find the packaged file from
    any folder, and so does the name of :func:`long_names`, with or without ``.py``. A folder
    stands for the ``config.py`` in it.

    Raises:
        UserError: for an address of the Hub, and if there is no such file; the message names the
        working directory and similar configs.
    """
    refuse_address(name)
    path = Path(name).expanduser()
    for own in (path, path / OWN_CONFIG):
        if own.is_file():
            return own
    relative = str(name).removeprefix('selnext_mm::').removeprefix('configs/')
    packaged = config_root() / relative
    if packaged.is_file():
        return packaged
    if '/' not in relative and (leaf := long_names().get(relative.removesuffix('.py'))):
        return config_root() / leaf
    raise UserError(_why_no_config(str(name), relative))


def _like_it_beside(path: Path) -> str:
    """'; did you mean a.py?' for configs in the folder of ``path`` with similar names."""
    try:
        names = [p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES and p.is_file()]
    except (OSError, ValueError):
        return ''
    found = near(path.name, names, 2, 0.7)
    return f'; did you mean {" or ".join(str(path.with_name(n)) for n in found)}?' if found else ''


def _why_no_config(name: str, relative: str) -> str:
    """The message for a name without a config; ``relative`` is its name in the package."""
    path = Path(name).expanduser()
    if path.is_dir():
        return (
            f'{name or "an empty name"} is a folder without a {OWN_CONFIG}; give a config file, a '
            'name under configs/, or a folder of "selnext-mm publish"'
        )
    beside = '' if name.startswith('selnext_mm::') else _like_it_beside(path)
    if path.is_absolute():
        return f'there is no {name}, neither a file nor a folder{beside}'
    meant = relative.endswith('.py')  # else it may be a folder, and only a close match helps
    names = config_leaves() if '/' in relative else [*config_leaves(), *long_names()]
    packaged = did_you_mean(relative, names, 3, 0.5 if meant else 0.8)
    hint = beside or packaged or (f'; configs are in {config_root()}' if meant else '')
    if name.startswith('selnext_mm::'):
        return f'there is no config {relative} in the package{hint}'
    return (
        f'there is no {name} in {Path.cwd()}, neither a file nor a folder, and no such config in '
        f'the package{hint}'
    )
