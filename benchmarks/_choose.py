"""From names on a command line to rows."""

import argparse
from dataclasses import replace

from _rows import VARIANTS, Row
from _suites import SUITES

from selnext_mm.config_files import config_leaves, find_config
from selnext_mm.errors import UserError
from selnext_mm.text import near

KNOWN: dict[str, Row] = {}
for _suite in SUITES.values():
    for _row in _suite.rows:
        KNOWN.setdefault(_row.label, _row)


def parse_row(text: str) -> Row:
    """The row of ``NAME[@VARIANT...]``: of a suite, or a new one for a config or timm model.

    Raises:
        UserError: for an unknown name or variant.
    """
    name, *variants = text.split('@')
    unknown = [v for v in variants if v not in VARIANTS]
    if unknown:
        raise UserError(
            f'{text}: unknown variant {unknown[0]!r}; choose from {", ".join(VARIANTS)}'
        )
    if name in KNOWN:
        row = KNOWN[name]
    elif '::' in name or name.endswith('.py'):
        if not name.startswith(('mmpretrain::', 'timm::')):
            find_config(name)
        row = Row(name, name)
    else:
        names = [*KNOWN, *config_leaves()]
        likely = near(name, names, 3, 0.4)
        hint = f'; did you mean {" or ".join(map(repr, likely))}?' if likely else ''
        raise UserError(
            f'no model {name!r}{hint} A model is a name of a suite (--list), a config of ours '
            '(cls/selnext_t_in1k.py), mmpretrain::FOLDER/CONFIG.py or timm::NAME'
        )
    return row.with_variants(*variants)


def is_meant(row: Row, text: str) -> bool:
    """Whether the row, or what it is compared with, has ``text`` in its name."""
    return text in row.label or text in row.baseline


def pick_rows(args: argparse.Namespace) -> list[Row]:
    """The rows of the command line, with the baselines that it asks for.

    Raises:
        UserError: for wrong names, none at all, or one twice.
    """
    rows = list(SUITES[args.suite].rows) if args.suite else []
    if args.only:
        if not args.suite:
            raise UserError('--only chooses rows of a --suite')
        lost = [text for text in args.only if not any(is_meant(row, text) for row in rows)]
        if lost:
            raise UserError(f'--only {lost[0]!r}: no row of {args.suite} has it; see --list')
        rows = [row for row in rows if any(is_meant(row, text) for text in args.only)]
    if args.rows:
        there = {row.label: row for row in rows}
        lost = [label for label in args.rows if label not in there]
        if lost:
            raise UserError(f'--rows {lost[0]!r}: no such row of {args.suite}; see --list')
        rows = [there[label] for label in args.rows]
    # The baseline of a suite's row holds within the suite.
    rows += [replace(parse_row(text), baseline='') for text in args.models]
    if not rows:
        raise UserError('nothing to time: give a --suite or models; --list shows them')
    if args.baseline:
        wanted = parse_row(args.baseline)
        if wanted.label not in [row.label for row in rows]:
            rows.insert(0, wanted)
        rows = [replace(row, baseline=wanted.label) for row in rows]
    if args.memory_format == 'channels_last':
        rows = [row.with_variants('channels_last') for row in rows]
    if args.compile:
        rows = [row.with_variants('compile') for row in rows]
    labels = [row.label for row in rows]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise UserError(f'{twice} is there twice')
    return rows
