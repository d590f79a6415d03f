"""Our configs by their long names in the packages of OpenMMLab: ``mim train mmdet NAME``.

``mim`` looks a name up in the folder of the package that the command names, and nowhere else. Each
file inherits the config; its folder, ``.mim/selnext_mm``, holds nothing else.
"""

from pathlib import Path

from selnext_mm.config_files import config_root, long_names
from selnext_mm.disk import write_text
from selnext_mm.errors import UserError
from selnext_mm.site_files import (
    list_files,
    not_allowed,
    package_folder,
    starts_with,
    unlist_files,
)

PACKAGES = ('mmdet', 'mmpretrain', 'mmseg')
# Folders of configs/ whose tasks are not mmdet's.
OWNERS = {'cls': 'mmpretrain', 'ssl': 'mmpretrain', 'upernet': 'mmseg', 'semantic_fpn': 'mmseg'}
MARK = '# Put here by selnext_mm'


def owner(leaf: str) -> str:
    """The package whose tools train a config: its default scope."""
    return OWNERS.get(leaf.split('/')[0], 'mmdet')


def texts(package: str) -> dict[str, str]:
    """File name -> content, of all configs that ``package`` trains.

    Bases are whole paths: mmengine takes ``selnext_mm::`` only once selnext_mm is imported, which
    the base does.
    """
    head = f'{MARK}: "selnext-mm mim --remove" removes it.\n'
    return {
        f'{name}.py': f'{head}_base_ = {(config_root() / leaf).as_posix()!r}\n'
        for name, leaf in sorted(long_names().items())
        if owner(leaf) == package
    }


def folders(site_packages: str | Path | None = None) -> dict[str, Path]:
    """The packages of :data:`PACKAGES` that are installed, and the folder of each.

    Raises:
        UserError: if there is none.
    """
    found = {name: package_folder(name, site_packages) for name in PACKAGES}
    installed = {name: folder for name, folder in found.items() if folder}
    if not installed:
        where = f' in {site_packages}' if site_packages else ''
        raise UserError(f'none of {", ".join(PACKAGES)} is installed{where}')
    return installed


def present(folder: Path) -> list[Path]:
    """The files of ours in a package's folder."""
    own = (folder / '.mim' / 'selnext_mm').glob('*.py')
    return sorted(path for path in own if starts_with(path, MARK))


def is_complete(package: str, folder: Path) -> bool:
    """Whether the files are those that :func:`install` would write."""
    found = {path.name: path.read_text(encoding='utf-8') for path in present(folder)}
    return found == texts(package)


def install(site_packages: str | Path | None = None) -> dict[Path, int]:
    """Write a file for each config into the package that trains it; those of old names go.

    Returns:
        dict[Path, int]: the folders, and how many files each has.

    Raises:
        UserError: if no package is installed or a folder cannot be written to.
    """
    written = {}
    for package, folder in folders(site_packages).items():
        own, wanted = folder / '.mim' / 'selnext_mm', texts(package)
        try:
            _delete(folder, [path for path in present(folder) if path.name not in wanted])
            for name, text in wanted.items():
                if not (own / name).is_file() or (own / name).read_text(encoding='utf-8') != text:
                    write_text(own / name, text)
            list_files(folder, [own / name for name in wanted])
        except (OSError, UserError) as error:
            also = ', or in a virtual environment of your own'
            raise not_allowed(folder, error, also) from None
        written[own] = len(wanted)
    return written


def remove(site_packages: str | Path | None = None) -> dict[Path, int]:
    """Remove the files that :func:`install` wrote.

    Returns:
        dict[Path, int]: the folders, and how many files were in each.

    Raises:
        UserError: if no package is installed or a file cannot be removed.
    """
    removed = {}
    for folder in folders(site_packages).values():
        if files := present(folder):
            try:
                _delete(folder, files)
            except (OSError, UserError) as error:
                raise not_allowed(folder, error) from None
            removed[files[0].parent] = len(files)
    return removed


def _delete(folder: Path, files: list[Path]) -> None:
    for path in files:
        path.unlink()
    unlist_files(folder, files)
    for own in {path.parent for path in files}:
        if not any(own.iterdir()):
            own.rmdir()
