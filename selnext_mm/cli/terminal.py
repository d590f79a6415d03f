"""Tables, and coloured lines on terminals that support them."""

import sys
import textwrap
from collections.abc import Iterable, Iterator

from selnext_mm.doctor.checks import Row

STYLES = {'ok': 'green', 'FAIL': 'bold red', 'warn': 'yellow', 'note': 'dim', 'fix': 'bold'}

HEADER = ('check', 'state', 'found', 'wanted')
GAP = 2
MAX_WIDTH = 120  # longer lines are hard to follow from column to column


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
        # Names from data may contain characters that the terminal cannot show.
        line = line.encode(encoding, 'backslashreplace').decode(encoding)
        if console:
            # soft_wrap leaves long lines to the terminal: a copied remedy has no line breaks
            console.print(line, style=STYLES.get(style), soft_wrap=True)
        else:
            print(line)


def table_lines(rows: Iterable[Row], width: int) -> Iterator[tuple[str, str]]:
    """(style, line) pairs of the table; cells wrap, nothing is cut.

    The command that fixes a row is printed unwrapped below it, so that it can be copied.
    """
    rows = list(rows)
    names = max(len(text) for text in (HEADER[0], *(row.name for row in rows)))
    states = max(map(len, STYLES | {HEADER[1]: ''}))
    left = width - names - states - 3 * GAP
    longest = max((len(row.found) for row in rows), default=0)
    found = min(max(longest, len(HEADER[2])), left // 2)
    widths = (names, states, found, left - found)

    def layout(cells: tuple[str, ...]) -> Iterator[str]:
        wrapped = [
            textwrap.wrap(cell, size, break_on_hyphens=False) or ['']
            for cell, size in zip(cells, widths, strict=True)
        ]
        for i in range(max(map(len, wrapped))):
            parts = [
                (part[i] if i < len(part) else '').ljust(size)
                for part, size in zip(wrapped, widths, strict=True)
            ]
            yield (' ' * GAP).join(parts).rstrip()

    for line in layout(HEADER):
        yield '', line
    yield '', '-' * min(width, sum(widths) + 3 * GAP)
    for row in rows:
        for line in layout((row.name, row.state, row.found, row.wanted)):
            yield row.state, line
        if row.remedy:
            yield 'fix', f'  fix: {row.remedy}'
