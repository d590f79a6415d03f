"""Weights from the Hugging Face Hub: ``hf://owner/repo[@revision][/file.safetensors]``.

The library ``huggingface_hub`` fetches the files: it caches them, resumes a broken transfer, uses
a token for a private repository, and reads its cache if offline (``HF_HUB_OFFLINE=1``).
Only safetensors files are read, because they contain numbers and no code.
"""

import hashlib
import os
import re
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

from selnext_mm.config_files import OWN_CONFIG, refuse_address
from selnext_mm.errors import UserError

DEFAULT_FILE = 'model.safetensors'
CHECKPOINTS = ('.pth', '.pt', '.ckpt', '.bin', '.safetensors')
SCHEME = 'hf://'
# A Path turns "hf://owner/repo" into "hf:/owner/repo".
ADDRESS = re.compile(
    r'hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/@]+))?(?:/(?P<file>[^@]+))?'
)
SHA256 = re.compile(r'[0-9a-f]{64}')


def is_hub_address(source: str | Path) -> bool:
    """Whether ``source`` begins with ``hf://``."""
    return str(source).startswith('hf:/')


def parse_address(source: str | Path) -> tuple[str, str | None, str]:
    """(repository, revision or None, file) of an address.

    Raises:
        UserError: if it is not an address, or its file is not safetensors.
    """
    match = ADDRESS.fullmatch(str(source))
    if match is None:
        raise UserError(
            f'{source} is not an address of the Hub; expected hf://OWNER/REPO, optionally followed '
            'by @REVISION and /FILE.safetensors'
        )
    file = match['file'] or DEFAULT_FILE
    if not file.endswith('.safetensors'):
        if match['revision']:
            whole = f'{match["revision"]}/{file}'.replace('/', '%2F')
            raise UserError(
                f'{source}: {file!r} after the revision is no .safetensors file; if it belongs to '
                f'the revision, write its / as %2F: hf://{match["repo"]}@{whole}'
            )
        raise UserError(
            f'{source}: from the Hub only .safetensors are read, because other files can run code; '
            'name such a file, or fetch this one yourself and give its path'
        )
    revision = match['revision'] and unquote(match['revision'])
    return match['repo'], revision, file


def hub_library(purpose: str) -> ModuleType:
    """The module ``huggingface_hub``.

    Raises:
        UserError: if it is not installed; ``purpose`` says what needs it.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f'{purpose} needs the library huggingface_hub: pip install huggingface_hub, or install '
            'this package with its extra [hub]'
        ) from error
    return huggingface_hub


def fetch(source: str | Path) -> Path:
    """The local copy of an address, fetched if it is not in the cache.

    If the Hub knows the SHA-256 of the file, the copy is checked against it every time.

    Raises:
        UserError: if the library is missing; if the repository, revision or file does not exist
            or cannot be reached; if the copy is damaged.
    """
    repo, revision, file = parse_address(source)
    library = hub_library(str(source))
    from huggingface_hub import errors

    endpoint = os.environ.get('HF_ENDPOINT')
    try:
        path = library.hf_hub_download(repo, file, revision=revision, endpoint=endpoint)
    except errors.RevisionNotFoundError as error:
        raise UserError(f'{source}: {repo} has no revision {revision!r}') from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f'{source}: there is no repository {repo}, or it is private; check the name, or give '
            'a token that may read it ("hf auth login", or HF_TOKEN)'
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f'{source} is not in the cache, and the Hub cannot be reached (no network, or '
            'HF_HUB_OFFLINE is set); fetch it once with a network, or give the path of a file'
        ) from error
    except errors.EntryNotFoundError as error:
        raise UserError(
            f'{source}: {repo} has no file {file}; name one of its .safetensors files, as in '
            f'{SCHEME}{repo}/FILE.safetensors'
        ) from error
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f'{source} cannot be fetched: {reason}') from error
    return _verified(Path(path), source)


def _verified(path: Path, source: str | Path) -> Path:
    """``path``, after a check: a blob that is named by its SHA-256 has to have that SHA-256."""
    blob = path.resolve()
    if SHA256.fullmatch(blob.name) and sha256(blob) != blob.name:
        blob.unlink()
        raise UserError(
            f'{source}: the copy in the cache is damaged (its SHA-256 is not that of the Hub) and '
            'was removed; run the command again to fetch it again'
        )
    return path


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    result = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            result.update(block)
    return result.hexdigest()


def local_path(source: str | Path) -> Path:
    """The file that ``source`` stands for.

    For an address of the Hub this is the local copy, for a folder with a ``model.safetensors``
    (as ``selnext-mm publish`` writes it) that file, and for any other path the path itself.
    """
    if is_hub_address(source):
        return fetch(source)
    path = Path(source).expanduser()
    inside = path / DEFAULT_FILE
    return inside if inside.is_file() else path


def holds_model(folder: str | Path) -> bool:
    """Whether ``folder`` was written by ``selnext-mm publish``: it has config and checkpoint.

    Raises:
        UserError: if it is an address of the Hub.
    """
    refuse_address(folder)
    return Path(folder, OWN_CONFIG).is_file() and local_path(folder).is_file()
