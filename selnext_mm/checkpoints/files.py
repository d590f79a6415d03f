"""Reading checkpoints without running code from them, and writing them atomically."""

import io
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selnext_mm.checkpoints.fit import EMA_KEY, choose_weights, with_tensors
from selnext_mm.checkpoints.hub import local_path
from selnext_mm.checkpoints.integrity import write_checkpoint
from selnext_mm.checkpoints.plain_types import allowed_types
from selnext_mm.checkpoints.sniff import PICKLE, ZIP, check_file
from selnext_mm.disk import write_atomically
from selnext_mm.errors import UserError

SAVE_SUFFIXES = ('.pth', '.safetensors')
FETCH_OR_NAME = 'fetch or copy it again, or name a file of torch.save or a .safetensors file'
WEIGHT_KEYS = ('model', 'state_dict', 'model_ema')  # order of preference of 'auto'


def load_file(
    path: str | Path, map_location: Any = 'cpu', content: bytes | None = None
) -> dict[str, Any]:
    """Read a checkpoint: ``.safetensors``, or any other suffix with ``torch.load``.

    Pickles are always read with ``weights_only=True``. A file with more than tensors, plain
    containers and standard-library data (paths, dates, argparse options; see ``plain_types``) is
    refused.

    Args:
        path: the file, or ``hf://owner/repo``, see :mod:`selnext_mm.checkpoints.hub`.
        map_location: as for ``torch.load``; for safetensors a device, anything else means CPU.
        content: the bytes of a ``torch.save`` file, if they have been read already.

    Raises:
        UserError: if the file is missing, a directory, unreadable, empty, truncated, not a
        checkpoint, an archive that would fill the memory, or a pickle that runs code.
    """
    path = local_path(path)
    magic = check_file(path)
    if path.suffix == '.safetensors':
        return _load_safetensors(path, map_location)

    checkpoint = _load_pickle(path, magic, map_location, content)
    if not isinstance(checkpoint, Mapping):
        raise UserError(
            f'{path} contains a {type(checkpoint).__name__}, not a dict of weights; save '
            'model.state_dict() with torch.save and name that file'
        )
    return without_program(checkpoint)


def without_program(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """``checkpoint`` without ``meta['config']``, a string that mmengine's resume would execute.

    mmengine runs it as a Python config to find the obsolete ``gpu_ids``. Its own runs store their
    config as ``cfg``, which is never executed here.
    """
    checkpoint = dict(checkpoint)
    meta = checkpoint.get('meta')
    if isinstance(meta, Mapping) and 'config' in meta:
        checkpoint['meta'] = {key: value for key, value in meta.items() if key != 'config'}
    return checkpoint


def _load_safetensors(path: Path, map_location: Any) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file as load
    except ImportError as error:
        raise UserError(f'{path} needs the safetensors package: pip install safetensors') from error
    device = map_location if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        return load(path, device=str(device))
    except Exception as error:  # SafetensorError is private to the extension module
        raise UserError(
            f'{path} is truncated or not a safetensors file ({error}); fetch or copy it again'
        ) from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """The strings in the header of a ``.safetensors`` file; {} for any other suffix."""
    path = local_path(path)
    if path.suffix != '.safetensors':
        return {}
    from safetensors import safe_open

    try:
        with safe_open(path, 'pt') as file:
            return dict(file.metadata() or {})
    except Exception as error:  # SafetensorError is private to the extension module
        raise UserError(
            f'{path} is truncated or not a safetensors file ({error}); fetch or copy it again'
        ) from error


def _load_pickle(path: Path, magic: bytes, map_location: Any, content: bytes | None) -> Any:
    try:
        with allowed_types():
            file = path if content is None else io.BytesIO(content)
            return torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        if not magic.startswith((ZIP, PICKLE)):
            raise UserError(f'{path} is not a checkpoint; {FETCH_OR_NAME}') from error
        name = re.search(r'GLOBAL ([\w.]+)', str(error))
        detail = f' ({name[1]})' if name else ''
        raise UserError(
            f'{path} was refused: its pickle contains more than weights{detail}, and reading it '
            'would run code from the file. Ask its author for a plain state dict or safetensors. '
            'If you trust the file, save its weights alone: torch.save(torch.load(FILE, '
            "weights_only=False)['state_dict'], NEW)"
        ) from error
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError, ... on damage
        reason = f'{type(error).__name__}: {error}'.splitlines()[0].removesuffix(': ')
        raise UserError(
            f'{path} is truncated or not a checkpoint ({reason}); {FETCH_OR_NAME}'
        ) from error


def take_weights(
    checkpoint: Mapping[str, Any], weights: str = 'auto', source: str | Path = 'the checkpoint'
) -> tuple[dict, str]:
    """The state dict inside a checkpoint, and a note on where it was found.

    Args:
        checkpoint: a dict with the weights under ``model``, ``state_dict`` or ``model_ema``, or
            a bare dict of tensors.
        weights: where the file has both, ``raw`` for the weights that were not averaged (the
            papers' detectors and transfer start from them) and ``ema`` for the averaged ones;
            ``model`` or ``model_ema`` to insist on one name; ``auto`` for the weights that an
            evaluation of the file uses: ``model``, else ``state_dict``.
        source: the file's name, for messages.

    Raises:
        UserError: if the wanted weights are not there.
    """
    if weights == 'raw' and not isinstance(checkpoint.get('model'), Mapping):
        if EMA_KEY in checkpoint:
            return choose_weights(checkpoint, 'raw')
        weights = 'auto'
    elif weights in ('raw', 'ema'):
        if weights == 'ema' and EMA_KEY in checkpoint:
            return choose_weights(checkpoint, 'ema')
        if weights == 'ema' and not isinstance(checkpoint.get('model_ema'), Mapping):
            found = ', '.join(map(str, list(checkpoint)[:5])) or 'nothing'
            raise UserError(
                f'--weights ema: the checkpoint has no averaged weights, only {found}; leave the '
                'option out'
            )
        weights = 'model_ema' if weights == 'ema' else 'auto'
    present = [key for key in WEIGHT_KEYS if isinstance(checkpoint.get(key), Mapping)]
    if weights != 'auto':
        if weights not in present:
            found = ', '.join(present) or 'a bare state dict or none at all'
            raise UserError(f'--weights {weights}: the checkpoint has no {weights!r}, only {found}')
        return with_tensors(checkpoint[weights]), f'{weights!r} (as asked)'
    if present:
        note = f'{present[0]!r}'
        if 'model_ema' in present[1:]:
            note += " ('model_ema' is there too; --weights ema takes it)"
        return with_tensors(checkpoint[present[0]]), note
    bare = with_tensors(checkpoint)
    if bare and all(isinstance(value, torch.Tensor) for value in bare.values()):
        return bare, 'the file itself (a bare state dict)'
    names = ', '.join(map(str, list(checkpoint)[:5])) or 'nothing'
    raise UserError(
        f'{source}: no weights found: looked for {", ".join(WEIGHT_KEYS)} or a bare dict of '
        f'tensors; the file contains {names}'
    )


def with_state_dict(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """``checkpoint`` with the weights that :func:`take_weights` takes under ``state_dict``.

    That is where runners look. So a test, a training and a prediction load the same weights from a
    file that has them under ``model`` or ``model_ema``. Other checkpoints, and bare weights, are
    returned as they are.
    """
    present = [key for key in WEIGHT_KEYS if isinstance(checkpoint.get(key), Mapping)]
    if not present or present[0] == 'state_dict':
        return checkpoint
    rest = {key: value for key, value in checkpoint.items() if key not in WEIGHT_KEYS}
    return {**rest, 'state_dict': take_weights(checkpoint)[0]}


def check_suffix(path: str | Path) -> Path:
    """``path`` as a Path; UserError unless its suffix is one that :func:`save_file` writes."""
    path = Path(path)
    if path.suffix not in SAVE_SUFFIXES:
        raise UserError(
            f'{path}: unknown suffix {path.suffix!r}; choose from {", ".join(SAVE_SUFFIXES)}'
        )
    return path


def save_file(
    state: Mapping[str, torch.Tensor], path: str | Path, metadata: Mapping[str, object]
) -> Path:
    """Write ``state`` and ``metadata``, atomically.

    ``.pth`` contains ``dict(meta=..., state_dict=...)`` as the OpenMMLab tools read it and loads
    with ``weights_only=True``; ``.safetensors`` keeps the metadata in its header. The file is
    written beside ``path``, synced and then renamed: ``path`` is either as before or complete.
    The same tensors and metadata give the same bytes.

    Raises:
        UserError: for an unknown suffix, or if the file cannot be written.
    """
    path = check_suffix(path)
    meta = {str(key): str(value) for key, value in metadata.items()}
    # Cloned, since a view is saved with its whole storage, and safetensors refuses shared memory.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    if path.suffix == '.safetensors':
        try:
            from safetensors.torch import save
        except ImportError as error:
            raise UserError(
                f'{path} needs the safetensors package: pip install safetensors'
            ) from error
        # The library's save_file creates files that only their owner can read.
        content = _with_sorted_header(save(tensors, metadata=meta))
        return write_atomically(path, lambda file: file.write(content))
    return write_checkpoint({'meta': meta, 'state_dict': tensors}, path)


def _with_sorted_header(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted by name; the library's order is random.

    The format: eight bytes with the length of the header, little-endian; the header, JSON that
    ends in spaces; the tensors, at a multiple of eight bytes.
    """
    size = int.from_bytes(content[:8], 'little')
    header = json.loads(content[8 : 8 + size])
    if '__metadata__' in header:
        header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    text += b' ' * (-len(text) % 8)
    return len(text).to_bytes(8, 'little') + text + content[8 + size :]
