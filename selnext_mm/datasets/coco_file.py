"""Reading a COCO instances file: complete and well-formed, or one error message."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from selnext_mm.errors import UserError
from selnext_mm.text import short

NAME_ANOTHER = 'export the labels again as COCO, or name another file'
KEYS = ('images', 'annotations', 'categories')
# First bytes of files that are often given instead of a JSON file.
OTHERS = {
    b'version https://git-lfs': 'a Git LFS pointer; fetch the file itself with "git lfs pull"',
    b'<': 'an HTML or XML page, not JSON; the download needed a log-in, or the labels are in '
    'another format',
    b'PK': 'a zip archive; unpack it',
    b'\x1f\x8b': 'gzip-compressed; unpack it',
    b'\x80': 'a Python pickle, which is not read because that could run code; export JSON',
}


class _RepeatedKeyError(ValueError):
    """A JSON object that has a key twice, with different values."""


def _record(pairs: list[tuple]) -> dict:
    record = dict(pairs)
    if len(record) < len(pairs):
        first: dict = {}
        for key, value in pairs:
            other = first.setdefault(key, value)
            if repr(other) != repr(value):
                raise _RepeatedKeyError(
                    f'a record has the key {short(key, 40)!r} twice, with {short(other, 60)} and '
                    f'with {short(value, 60)}, of which readers of JSON keep one; remove the other'
                )
    return record


def read_coco(path: str | os.PathLike, keys: Sequence[str] = KEYS) -> dict:
    """The content of a COCO file, with a list under each of ``keys``.

    Raises:
        UserError: if the file is missing, a folder, unreadable, empty, truncated or not JSON, has a
        key with two values, or is structured differently.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f'the annotation file {path} does not exist')
    if not path.is_file():
        raise UserError(f'the annotation file {path} is not a regular file; name the .json file')
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
    return check_shape(_parse(path, data), path, keys)


def _parse(path: Path, data: bytes):
    if not data.strip():
        raise UserError(f'{path} is empty; fetch or export the annotations again')
    for magic, what in OTHERS.items():
        if data.lstrip().startswith(magic):
            raise UserError(f'{path} is {what}')
    try:
        return json.loads(data, object_pairs_hook=_record)
    except _RepeatedKeyError as error:
        raise UserError(f'{path}: {error}') from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is not a text file in UTF-8 ({error.reason}); save it as UTF-8'
        ) from error
    except json.JSONDecodeError as error:
        # A complete file with another error begins and ends like JSON, a truncated one only begins.
        whole = error.msg == 'Extra data' or (
            data.rstrip().endswith((b'}', b']')) and error.pos < len(error.doc.rstrip())
        )
        cut = data.lstrip().startswith((b'{', b'[')) and not whole
        if cut:
            raise UserError(
                f'{path} is truncated: it ends in the middle, after {len(data)} bytes; fetch or '
                'export it again'
            ) from error
        raise UserError(
            f'{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}; '
            f'{NAME_ANOTHER}'
        ) from error
    except (RecursionError, ValueError) as error:
        raise UserError(f'{path} is not JSON that can be read: {error}; {NAME_ANOTHER}') from error


def check_shape(content, path: str | os.PathLike, keys: Sequence[str] = KEYS) -> dict:
    """``content`` itself; :class:`UserError` unless it is structured like a COCO instances file."""
    if not isinstance(content, dict):
        kind = type(content).__name__
        hint = ' (COCO results, or a list of records?)' if isinstance(content, list) else ''
        raise UserError(
            f'{path} is no COCO file: it holds a {kind}{hint}, not the dict with '
            f'{", ".join(KEYS)}; {NAME_ANOTHER}'
        )
    missing = [key for key in keys if key not in content]
    if missing:
        found = ', '.join(map(str, list(content)[:6])) or 'nothing'
        raise UserError(
            f'{path} is no COCO instances file: it lacks {", ".join(missing)} and has {found}; '
            f'{NAME_ANOTHER}'
        )
    for key in KEYS:
        value = content.get(key)
        if (key in keys or value is not None) and not isinstance(value, list):
            raise UserError(
                f'{path}: {key} is a {type(value).__name__}; a COCO file has a list there: '
                f'{NAME_ANOTHER}'
            )
    if 'images' in keys and not content['images']:
        raise UserError(f'{path} lists no images; {NAME_ANOTHER}')
    return content
