"""Text files with one name or path per line, as mmengine reads them."""

import codecs
import io
import os
from pathlib import Path

from selnext_mm.errors import UserError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_lines(path: str | os.PathLike, name: str) -> list[str]:
    """The lines of a file in UTF-8.

    Args:
        path: may begin with ``~`` for the home folder.
        name: what the file lists, for messages.

    Raises:
        UserError: if it is unreadable, or in another encoding, which mmengine would misread.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(f'{name}: {path} cannot be read ({error.strerror})') from error
    if data.startswith(codecs.BOM_UTF8):
        raise UserError(
            f'{name}: {path} begins with a byte order mark, which would become part of its first '
            'name; save it as UTF-8 without one'
        )
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError as error:
        kind = 'but in UTF-16' if data.startswith(UTF_16) else error.reason
        raise UserError(
            f'{name}: {path} cannot be read (not a text file in UTF-8, {kind}); save it as UTF-8'
        ) from error
    return [line.rstrip('\r\n') for line in io.StringIO(text)]
