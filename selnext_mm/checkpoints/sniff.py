"""Recognise a file before anything is read that could fill the memory or run code."""

import zipfile
from pathlib import Path

from selnext_mm.errors import UserError

# What torch.save writes: a zip archive, or a pickle before torch 1.6.
ZIP, PICKLE = b'PK\x03\x04', b'\x80'
# Ratio of unpacked to stored size above which an archive is refused. torch does not compress, and
# weights that another program has compressed shrink by a few percent only.
MAX_RATIO = 20
SLACK = 1 << 20  # an archive of any ratio may unpack to this many bytes
HEAD = 64

KNOWN = {
    b'version https://git-lfs': 'a Git LFS pointer, not the file; "git lfs pull" fetches it',
    b'<': 'an HTML or XML page, not a checkpoint; the download needed a log-in or the address is '
    'wrong',
    b'{"': 'JSON, not a checkpoint',
    b'\x89HDF': 'an HDF5 file (Keras?); export the weights with torch.save or safetensors',
    b'GGUF': 'a GGUF file; export the weights with torch.save or safetensors',
    b'\x1f\x8b': 'gzip-compressed; unpack it first',
    b'7z\xbc\xaf': 'a 7z archive; unpack it first',
    b'\x93NUMPY': 'a numpy array, not a checkpoint',
    b'\xff\xd8\xff': 'an image, not a checkpoint',
    b'\x89PNG': 'an image, not a checkpoint',
}


def check_file(path: Path) -> bytes:
    """The first bytes of a regular file that may be a checkpoint.

    Raises:
        UserError: if the file is missing, not a regular file, unreadable, empty, recognised as
        something else, or an archive that would unpack to many times its size.
    """
    if not path.exists():
        raise UserError(f'{path}: no such file; check the path (working directory: {Path.cwd()})')
    if path.is_dir():
        raise UserError(f'{path} is a directory; name the checkpoint file in it')
    if not path.is_file():
        raise UserError(f'{path} is not a regular file; copy its content to one and name that')
    try:
        with open(path, 'rb') as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(
            f'{path}: cannot be read ({error.strerror}); check its permissions and the disk'
        ) from error
    if not head:
        raise UserError(f'{path} is empty; fetch or copy it again')
    if not head.strip(b'\0'):
        raise UserError(f'{path} begins with zeros: it was not written completely; fetch it again')
    # This check comes first: the bytes of a header's length may look like a magic number.
    looks_safe = head[8:9] == b'{' and int.from_bytes(head[:8], 'little') < 100_000_000
    if looks_safe and path.suffix != '.safetensors':
        raise UserError(f'{path} is a safetensors file; rename it to {path.stem}.safetensors')
    for magic, what in KNOWN.items():
        if not looks_safe and head.lstrip().startswith(magic):
            raise UserError(f'{path} is {what}')
    if path.suffix == '.safetensors' and not looks_safe and head.startswith((ZIP, PICKLE)):
        raise UserError(f'{path} is written by torch.save, not as safetensors; rename it to .pth')
    if head.startswith(ZIP):
        _check_archive(path)
    return head


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f'{path} is truncated or damaged: it begins like a checkpoint but has no end; fetch or '
            'copy it again'
        ) from error
    names = [entry.filename.rpartition('/')[2] for entry in entries]
    stored = path.stat().st_size
    total = sum(entry.file_size for entry in entries)
    if total > MAX_RATIO * stored + SLACK:
        raise UserError(
            f'{path} was refused: it is an archive of {stored:,} bytes that unpacks to {total:,}; '
            'no program writes weights like that'
        )
    if 'constants.pkl' in names:
        raise UserError(
            f'{path} is a TorchScript program, not a checkpoint; save its state_dict instead'
        )
    if 'data.pkl' not in names:
        inside = ', '.join(names[:3])
        raise UserError(f'{path} is a zip archive not written by torch.save: it has {inside}')
