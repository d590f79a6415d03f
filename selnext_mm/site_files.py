"""Our files in the folder of another installed package, added to pip's list of its files.

pip removes the files in the list (``RECORD``) together with the package, so nothing is left behind.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from selnext_mm.disk import write_text
from selnext_mm.errors import UserError


def package_folder(name: str, site_packages: str | Path | None = None) -> Path | None:
    """The folder of a package, in ``site_packages`` or where this Python finds it.

    Returns:
        Path | None: None if it is not installed.
    """
    if site_packages is not None:
        folder = Path(site_packages, name)
        return folder if (folder / '__init__.py').is_file() else None
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def record(folder: Path) -> Path | None:
    """pip's list of files of the distribution that the package ``folder`` belongs to."""
    line = f'{folder.name}/__init__.py,'
    for path in sorted(folder.parent.glob('*.dist-info/RECORD')):
        if any(entry.startswith(line) for entry in _read(path).splitlines()):
            return path
    return None


def _read(path: Path) -> str:
    with open(path, encoding='utf-8', newline='') as file:
        return file.read()


def _entries(folder: Path, files: Iterable[Path]) -> list[str]:
    return [f'{path.relative_to(folder.parent).as_posix()},,' for path in files]


def list_files(folder: Path, files: Iterable[Path]) -> None:
    """Add ``files`` in the package ``folder`` to pip's list; a second call does nothing."""
    if path := record(folder):
        text = _read(path)
        present = set(text.splitlines())
        end = '\r\n' if '\r\n' in text else '\n'
        if added := [entry for entry in _entries(folder, files) if entry not in present]:
            write_text(path, text + ''.join(f'{entry}{end}' for entry in added))


def unlist_files(folder: Path, files: Iterable[Path]) -> None:
    """Remove ``files`` from pip's list."""
    if path := record(folder):
        text, gone = _read(path), set(_entries(folder, files))
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if line.rstrip('\r\n') not in gone]
        if len(kept) < len(lines):
            write_text(path, ''.join(kept))


def starts_with(path: Path, mark: str) -> bool:
    """Whether a text file begins with ``mark``, which identifies our files."""
    try:
        return path.read_text(encoding='utf-8').startswith(mark)
    except (OSError, UnicodeDecodeError):
        return False


def not_allowed(folder: Path, error: OSError | UserError, also: str = '') -> UserError:
    """The error for a ``folder`` that is not writable, with the remedy."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    reason = f'{cause.filename}: {cause.strerror}' if isinstance(cause, OSError) else str(error)
    return UserError(f'{reason}; run the command as the owner of {folder}{also}')
