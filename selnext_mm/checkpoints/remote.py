"""Checkpoints that are not local files, read as strictly as local ones."""

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch

from selnext_mm.checkpoints.files import load_file, without_program
from selnext_mm.errors import UserError
from selnext_mm.framework import HAS_MMENGINE

# URLs of a repository's web pages: its front page, a folder or a file of a revision.
PAGE = re.compile(
    r'https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)'
    r'(?:/(?:tree|blob)/([^/?#]+)(?:/([^?#]+\.safetensors))?)?/?(?:[?#].*)?'
)


def load_anywhere(source: str, map_location: Any = 'cpu') -> dict[str, Any]:
    """The checkpoint at ``source``: a path, ``hf://``, ``http://`` or ``https://``.

    If mmengine is installed, its loader reads all of them and further schemes (``torchvision://``,
    ``s3://``, ...), just as strictly (:mod:`selnext_mm.compat`).

    Raises:
        UserError: if it cannot be fetched or is refused, or if its scheme needs mmengine.
    """
    if HAS_MMENGINE:
        from mmengine.runner import CheckpointLoader

        return CheckpointLoader.load_checkpoint(source, map_location, logger=None)
    scheme, is_address, _ = source.partition('://')
    if scheme in ('http', 'https'):
        return load_url(source, map_location=map_location)
    if is_address and scheme != 'hf':
        raise UserError(
            f'{source}: addresses that begin with {scheme}:// are read by mmengine, which is not '
            'installed; pip install mmengine, or name a file or an http address'
        )
    return load_file(source, map_location)


def load_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True
) -> dict[str, Any]:
    """Fetch ``url`` once, into torch's own download folder, and read it with :func:`load_file`.

    Raises:
        UserError: if it cannot be fetched, or :func:`load_file` refuses the file.
    """
    folder = Path(model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints'))
    if address := address_of_page(url):
        raise UserError(
            f'{url} is a page of the Hub, and no file; the weights of its repository are: {address}'
        )
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise UserError(f'{url} names no file')
    target = folder / name
    if not target.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # It writes to a temporary file and renames it: a broken transfer leaves nothing behind.
            torch.hub.download_url_to_file(url, str(target), progress=progress)
        except (OSError, ValueError) as error:
            raise UserError(
                f'{url} cannot be fetched ({error}); without a network, put the file into '
                f'{folder} or give its path'
            ) from error
    return load_file(target, map_location)


def address_of_page(url: str) -> str:
    """The ``hf://`` address for a page of the Hugging Face Hub, '' for any other URL."""
    match = PAGE.fullmatch(url)
    if match is None:
        return ''
    repo, revision, file = match.groups()
    pinned = f'@{revision}' if revision else ''
    return f'hf://{repo}{pinned}' + (f'/{file}' if file else '')


class RestrictedTorch(ModuleType):
    """The module ``torch``, except that its ``load`` never runs code from a file."""

    def __init__(self) -> None:
        super().__init__('torch')

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(file, *args, **kwargs):
        kwargs['weights_only'] = True
        try:
            loaded = torch.load(file, *args, **kwargs)
        except pickle.UnpicklingError as error:
            raise UserError(
                'the checkpoint was refused: its pickle contains more than weights, and reading it '
                'would run code from the file. Ask its author for a plain state dict or safetensors'
            ) from error
        return without_program(loaded) if isinstance(loaded, Mapping) else loaded
