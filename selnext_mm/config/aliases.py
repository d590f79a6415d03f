"""Our configs under their long names in OpenMMLab's packages, for ``mim train mmdet NAME``.

``mim`` looks a name up only in the folder of the package that the command names. Each file there
inherits from one of our configs; the folder ``.mim/selnext_mm`` contains nothing else.
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
    """The package whose tools train a config, which is its default scope."""
    return OWNERS.get(leaf.split('/')[0], 'mmdet')


def texts(package: str) -> dict[str, str]:
    """File name -> content, for all configs that ``package`` trains.

    Bases are full paths: mmengine accepts ``selnext_mm::`` only after selnext_mm has been
    imported, which the base does.
    """
    head = f'{MARK}: "selnext-mm mim --remove" removes it.\n'
    return {
        f'{name}.py': f'{head}_base_ = {(config_root() / leaf).as_posix()!r}\n'
        for name, leaf in sorted(long_names().items())
        if owner(leaf) == package
    }


def folders(site_packages: str | Path | None = None) -> dict[str, Path]:
    """The installed packages of :data:`PACKAGES`, and the folder of each.

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
    """Our files in a package's folder."""
    own = (folder / '.mim' / 'selnext_mm').glob('*.py')
    return sorted(path for path in own if starts_with(path, MARK))


def is_complete(package: str, folder: Path) -> bool:
    """Whether the files are those that :func:`install` would write."""
    found = {path.name: path.read_text(encoding='utf-8') for path in present(folder)}
    return found == texts(package)


def install(site_packages: str | Path | None = None) -> dict[Path, int]:
    """Write a file for each config into the package that trains it; remove files of old names.

    Returns:
        dict[Path, int]: the folders, and the number of files in each.

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
        dict[Path, int]: the folders, and the number of files removed from each.

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
