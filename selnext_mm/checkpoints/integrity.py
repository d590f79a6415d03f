"""Checkpoints written atomically, and checked to the last byte."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch

from selnext_mm.disk import write_atomically

# What zipfile raises for corrupted archives, besides BadZipFile.
UNREADABLE = (
    OSError, EOFError, zlib.error, struct.error, NotImplementedError, RuntimeError,
    ValueError, OverflowError, LookupError,
)  # fmt: skip


def write_checkpoint(checkpoint: Any, path: str | Path) -> Path:
    """``torch.save``, atomically; the file is read back before it replaces ``path``."""
    return write_atomically(path, lambda file: torch.save(checkpoint, file), verify=damage)


def damage(path: str | Path) -> str | None:
    """What is wrong with a ``torch.save`` file; None if every byte is as it was written.

    torch's own reader ignores the checksums, so it would load flipped bits. Files from before
    torch 1.6 have no checksums: they pass if they are not empty.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return 'no such file'
        with open(path, 'rb') as file:
            return damage_of(file)
    except OSError as error:
        return f'cannot be read ({str(error) or type(error).__name__})'


def damage_of(file: BinaryIO) -> str | None:
    """:func:`damage` of an open file, on disk or in memory."""
    try:
        head = file.read(1)
        if not head:
            return 'empty'
        if head == b'\x80':
            return None
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile:
        return 'truncated or not a checkpoint'
    except UNREADABLE as error:
        return f'cannot be read ({str(error) or type(error).__name__})'
    return f'damaged: the checksum of its part {broken} is wrong' if broken else None
