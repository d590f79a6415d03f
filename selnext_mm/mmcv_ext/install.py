"""The operators as a file in the environment's mmcv, for programs that import mmcv first.

mmdet's ``tools/test.py`` and its inferencers import ``mmcv.ops`` before they load a config, which
imports this package. For them ``mmcv/_ext.py`` imports the operators. Python prefers a compiled
``_ext`` beside it, so an mmcv with operators that is installed later is not hidden.
"""

from pathlib import Path

from selnext_mm.disk import write_text
from selnext_mm.errors import UserError
from selnext_mm.site_files import (
    list_files,
    not_allowed,
    package_folder,
    starts_with,
    unlist_files,
)

FILE = '_ext.py'
MARK = '# Put here by selnext_mm'
TEXT = f'''{MARK}: "selnext-mm ops --remove" removes it.
"""Operators of mmcv in torch. A compiled _ext in this folder is preferred to this file."""

try:
    from selnext_mm.mmcv_ext.module import fill
except ModuleNotFoundError as error:
    if (error.name or '').partition('.')[0] != 'selnext_mm':
        raise
    raise ImportError(
        f'{{__file__}} takes the operators of mmcv from selnext_mm, which is not installed: '
        'pip install selnext_mm, or remove that file'
    ) from error

fill(globals())
'''


def mmcv_folder(site_packages: str | Path | None = None) -> Path:
    """The folder of the mmcv in ``site_packages``, by default of the one that Python would import.

    Raises:
        UserError: if there is none.
    """
    folder = package_folder('mmcv', site_packages)
    if folder is None and site_packages is not None:
        expected = Path(site_packages, 'mmcv', '__init__.py')
        raise UserError(f'{site_packages}: no mmcv there; expected {expected}')
    if folder is None:
        raise UserError('mmcv is not installed; "pip install mmcv-lite==2.1.0" installs it')
    return folder


def compiled_file(folder: Path) -> Path | None:
    """The compiled ``_ext`` in an mmcv's folder; None if it has none."""
    found = sorted(path for path in folder.glob('_ext.*') if path.suffix in ('.so', '.pyd'))
    return found[0] if found else None


def is_ours(path: Path) -> bool:
    return starts_with(path, MARK)


def install(site_packages: str | Path | None = None) -> Path:
    """Write ``mmcv/_ext.py``. A second call changes nothing.

    Returns:
        Path: the file.

    Raises:
        UserError: if there is no mmcv, it has compiled operators or another ``_ext.py``, or its
            folder cannot be written to.
    """
    folder = mmcv_folder(site_packages)
    path = folder / FILE
    if compiled := compiled_file(folder):
        raise UserError(f'{compiled}: this mmcv has compiled operators, so nothing is needed')
    if path.exists() and not is_ours(path):
        raise UserError(f'{path} is not from selnext_mm; move it away first')
    try:
        write_text(path, TEXT)
        list_files(folder, [path])
    except (OSError, UserError) as error:
        also = ', or in a virtual environment of your own'
        raise not_allowed(folder, error, also) from None
    return path


def remove(site_packages: str | Path | None = None) -> Path | None:
    """Remove ``mmcv/_ext.py``, its entry in pip's list and Python's cache of it.

    Returns:
        Path: the removed file, None if there was none.

    Raises:
        UserError: if there is no mmcv, the file is not from this package or cannot be removed.
    """
    folder = mmcv_folder(site_packages)
    path = folder / FILE
    if path.exists() and not is_ours(path):
        raise UserError(f'{path} is not from selnext_mm and is left alone')
    found = path.exists()
    try:
        for cached in (folder / '__pycache__').glob('_ext.*.pyc'):
            cached.unlink()
        path.unlink(missing_ok=True)
        unlist_files(folder, [path])
    except (OSError, UserError) as error:
        raise not_allowed(folder, error) from None
    return path if found else None
