"""Another project's weights as a file under our names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from selnext_mm import __version__
from selnext_mm.checkpoints.files import check_suffix, load_file, save_file, take_weights
from selnext_mm.checkpoints.fit import without_wrappers
from selnext_mm.checkpoints.keymaps.rules import Arch, KeyMapping
from selnext_mm.checkpoints.keymaps.sources import convert_keys
from selnext_mm.errors import UserError


class Converted(NamedTuple):
    """``weights`` says which weights of the file were taken, ``tensors`` how many there were."""

    mapping: KeyMapping
    tensors: int
    weights: str
    out: Path


def convert_file(
    path: str | Path,
    out: str | Path,
    source: str,
    target: str = 'classifier',
    weights: str = 'raw',
    force: bool = False,
    describe: Callable[[Arch | str], str] = str,
) -> Converted:
    """Map every key of a checkpoint to ours, and write the result.

    Args:
        path, out: ``.pth``, ``.pt`` or ``.safetensors``.
        source: a key of :data:`~selnext_mm.checkpoints.keymaps.sources.KEY_MAPS`.
        target: 'classifier' or 'detection'.
        weights: which weights of a file that has both: 'raw' or 'model', 'ema' or 'model_ema',
            'auto' (raw).
        force: replace ``out``.
        describe: the arguments that build an architecture in words, for the file's metadata.

    Raises:
        UserError: for files that cannot be read or written, an ``out`` that is there or is the
            input, and keys that are neither mapped nor dropped for a reason.
    """
    out = check_suffix(out)
    if out.is_dir():
        raise UserError(f'{out} is a directory; name a file')
    if out.exists():
        if not force:
            raise UserError(f'{out} exists; --force overwrites it')
        if Path(path).exists() and out.samefile(path):
            raise UserError(f'{out} is the input itself; choose another OUT')
    wanted = 'raw' if weights == 'auto' else weights
    state, taken = take_weights(load_file(path), wanted, path)
    mapping = convert_keys(without_wrappers(state), source, target)
    metadata = {
        'source': source,
        'source_file': Path(path).name,
        'target': target,
        'model': mapping.model,
        'arch': describe(mapping.arch),
        'converter': f'selnext_mm {__version__}',
    }
    save_file(mapping.state, out, metadata)
    return Converted(mapping, len(state), taken, out)
