"""The cache of converted labels: one folder per data set, named by the content of its labels."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from selnext_mm.disk import fresh_folder, sync
from selnext_mm.errors import UserError

VERSION = 2  # increase it when the result of a conversion changes
MANIFEST = 'dataset.json'
BLOCK = 1 << 20
OLD = 86_400.0  # seconds


def cache_root() -> Path:
    """``$SELNEXT_MM_CACHE/datasets``, by default under ``~/.cache/selnext_mm``."""
    default = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'selnext_mm'
    return Path(os.environ.get('SELNEXT_MM_CACHE') or default).expanduser() / 'datasets'


def fingerprint(
    options: dict, root: Path, files: Iterable[str | os.PathLike[str]], images: Iterable[str]
) -> str:
    """32 hexadecimal digits of everything that the conversion depends on.

    This is the options, the names and contents of the label files, and the names, sizes in bytes
    and modification times of the images. Names are relative to ``root``, so a moved folder is the
    same data set.
    """
    digest = hashlib.blake2b(digest_size=16)

    def add(*values) -> None:
        for value in values:
            data = value if isinstance(value, bytes) else os.fsencode(str(value))
            digest.update(b'%d:' % len(data) + data)

    base = f'{os.path.abspath(root)}/'

    def relative(path: str) -> str:
        path = os.path.abspath(path)
        return path[len(base) :] if path.startswith(base) else path

    add(VERSION, json.dumps(options, sort_keys=True))
    for path in sorted(os.fspath(file) for file in files):
        try:
            with open(path, 'rb') as file:
                add(relative(path), os.fstat(file.fileno()).st_size)
                while block := file.read(BLOCK):
                    digest.update(block)
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
    for path in sorted(images):
        try:
            state = os.stat(path)
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
        add(relative(path), state.st_size, state.st_mtime_ns)
    return digest.hexdigest()


def folder_of(root: Path, key: str) -> Path:
    name = re.sub(r'[^\w.-]+', '_', root.resolve().name) or 'data'
    return cache_root() / f'{name[:40]}-{key}'


def is_conversion(folder: Path) -> bool:
    """Whether ``folder``, which may be missing, has the name of one in a cache of labels."""
    return re.fullmatch('.+-[0-9a-f]{32}', folder.name) is not None


def read_manifest(folder: Path) -> dict | None:
    """The manifest of a conversion; None if it is missing or incomplete."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding='utf-8'))
        files = [folder / split['annotations'] for split in manifest['splits'].values()]
        sizes = [split['bytes'] for split in manifest['splits'].values()]
        whole = [f.stat().st_size for f in files] == sizes
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole else None


@contextlib.contextmanager
def cache_folder(folder: Path):
    """A new folder that becomes ``folder`` when the block ends without an error.

    If several processes convert the same labels, the first one's folder is kept.

    Raises:
        UserError: if the cache cannot be written.
    """
    try:
        with fresh_folder(folder, existing='keep') as temporary:
            for left in folder.parent.glob('.*.tmp'):  # left by killed processes
                if time.time() - left.stat().st_mtime > OLD:
                    shutil.rmtree(left, ignore_errors=True)
            yield temporary
            for path in temporary.iterdir():
                sync(path)
            if folder.is_dir() and read_manifest(folder) is None:
                shutil.rmtree(folder)
    except OSError as error:
        raise UserError(
            f'the cache {folder.parent} cannot be written ({error.strerror or error}); name '
            'another folder in the environment variable SELNEXT_MM_CACHE'
        ) from error
