"""``selnext-mm doctor``: every requirement of the package, and the line that fixes it."""

import argparse
import contextlib
import itertools
import json
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec

from selnext_mm import __version__
from selnext_mm.cli.parser import Parser
from selnext_mm.cli.terminal import MAX_WIDTH, show, table_lines
from selnext_mm.disk import write_output
from selnext_mm.doctor.checks import Row, inspect_environment
from selnext_mm.doctor.probes import PROBES
from selnext_mm.doctor.run import Told


def closing_line(rows: list[Row]) -> str:
    failed = [row.name for row in rows if row.ok is False]
    warned = [row.name for row in rows if row.state == 'warn']
    tail = f'; to be looked at: {", ".join(warned)}' if warned else ''
    if failed:
        return f'{len(failed)} of {len(rows)} checks failed: {", ".join(failed)}{tail}'
    return f'all {len(rows)} checks hold{tail}'


def report(rows: list[Row]) -> dict:
    """The rows as plain data, for ``--json``."""
    return {
        'selnext_mm': __version__,
        'python': platform.python_version(),
        'platform': platform.platform(),
        'ok': all(row.ok is not False for row in rows),
        'checks': [asdict(row) | {'state': row.state} for row in rows],
    }


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='selnext-mm doctor',
        description='Check every requirement and print the line that fixes what fails.',
        epilog='Exit status: 0 if no check failed (warnings allowed), 1 otherwise.',
    )
    parser.add_argument(
        '--json', metavar='FILE', help='write the result as JSON to FILE; - prints it instead'
    )
    parser.add_argument('-q', '--quiet', action='store_true', help='leave out rows that hold')
    parser.add_argument(
        '--min-free-gb',
        type=float,
        default=5.0,
        metavar='GB',
        help='fail below this much free disk (default: %(default)s)',
    )
    parser.add_argument(
        '--timeout',
        type=float,
        default=180.0,
        metavar='S',
        help='seconds that the checks may take, and each one that fails (default: %(default)s)',
    )
    return parser


@contextlib.contextmanager
def progress() -> Iterator[Told]:
    """Show what is being checked in one line of the terminal, which is cleared at the end."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    ended = itertools.count(1)

    def told(name: str) -> None:
        show_line(f'{next(ended)} of {len(PROBES)} probes ended: {name}')

    def show_line(text: str) -> None:
        sys.stderr.write(f'\r\x1b[K{text}')
        sys.stderr.flush()

    show_line('checking the environment ...')
    yield told
    show_line('')


def main(argv: list[str] | None = None) -> int:
    """Print the table (or JSON); 0 if no check failed, 1 otherwise."""
    args = build_parser().parse_args(argv)
    with progress() as told:
        rows = inspect_environment(args.min_free_gb, args.timeout, told)
    status = int(any(row.ok is False for row in rows))
    if args.json:
        text = json.dumps(report(rows), indent=2)
        if args.json == '-':
            print(text)
            return status
        write_output('--json', args.json, text + '\n')
    width = min(shutil.get_terminal_size((100, 24)).columns, MAX_WIDTH)
    chosen = [row for row in rows if row.remedy] if args.quiet else rows
    if chosen:
        show(table_lines(chosen, max(width, 60)))
    show([('FAIL' if status else 'ok', closing_line(rows))])
    if find_spec('torch') is None and find_spec('onnxruntime') is not None:
        show([('note', 'predict and serve with an exported file need none of this')])
    return status
