"""Lines in colour, on terminals that have it."""

import sys
from collections.abc import Iterable

STYLES = {'ok': 'green', 'FAIL': 'bold red', 'warn': 'yellow', 'note': 'dim', 'fix': 'bold'}


def show(lines: Iterable[tuple[str, str]]) -> None:
    """Print, in colour on a terminal if rich is there."""
    console = None
    if sys.stdout.isatty():
        try:
            from rich.console import Console

            console = Console(highlight=False, markup=False)
        except ImportError:
            pass
    encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
    for style, line in lines:
        # Names out of data may hold what the terminal cannot show.
        line = line.encode(encoding, 'backslashreplace').decode(encoding)
        if console:
            # soft_wrap leaves long lines to the terminal: a copied remedy has no line breaks
            console.print(line, style=STYLES.get(style), soft_wrap=True)
        else:
            print(line)
