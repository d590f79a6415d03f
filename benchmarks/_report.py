"""Results: the machine and versions they belong to, the JSON file, the table on screen or page."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from _models import Candidate, Setting
from _rows import Suite, find_baseline, paper_ratio
from _timing import compare, summarize

from selnext_mm.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def command() -> str:
    """The command line of this process as one would type it in the repository.

    Of an absolute path elsewhere only the name is kept: folders of one machine mean nothing.
    """
    return shlex.join(['python', *map(_shown, sys.argv)])


def _shown(argument: str) -> str:
    path = Path(argument)
    if not path.is_absolute():
        return argument
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def check_writable(path: str | Path) -> None:
    """Raise :class:`UserError` now, not after minutes of timing."""
    folder = Path(path).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f'--json {path}: {folder} is no folder that can be written to')


TIMED = ('rows', 'machine', 'versions', 'setting')


def read_json(
    path: str | Path, keys: tuple[str, ...] = TIMED, what: str = 'latency.py or training.py'
) -> dict:
    """A result that ``what`` wrote, with these ``keys`` in it.

    Raises:
        UserError: for anything else.
    """
    try:
        result = json.loads(Path(path).read_text(encoding='utf-8'))
        for key in keys:
            result[key]
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is no result of {what} --json') from error
    return result


def result_rows(
    made: Mapping[str, Candidate],
    seconds: Mapping[str, list[float]],
    suite: Suite,
    setting: Setting,
) -> list[dict]:
    """One dict per row: what was timed, all its times, and the ratio to its baseline."""
    device = setting.device.type
    rows = []
    for label, candidate in made.items():
        row = candidate.row
        base = find_baseline(row, (other.row for other in made.values()))
        ratios = {'ratio': None, 'ratio_q25': None, 'ratio_q75': None}
        if base is not None:
            ratios = compare(seconds[label], seconds[base.label])
        summary = summarize(seconds[label])
        rows.append(
            {
                'label': label,
                'name': row.name,
                'variants': list(row.variants),
                'source': row.source if isinstance(row.source, str) else dict(row.source),
                'options': dict(row.options),
                'baseline': base.label if base else None,
                'params': candidate.params,
                'size': list(candidate.size),
                **summary,
                'images_per_s': setting.batch / summary['median_s'],
                **ratios,
                'error': candidate.error,
                **candidate.facts,
                'paper': row.paper.get(device) if device in suite.paper else None,
                'paper_ratio': paper_ratio(suite, row, base, device) if base else None,
                'seconds': [round(s, 7) for s in seconds[label]],
            }
        )
    return rows


def ratio_text(row: dict) -> str:
    """'1.043 [1.02, 1.06]'."""
    if row.get('ratio') is None:
        return '-'
    return f'{row["ratio"]:.3f} [{row["ratio_q25"]:.2f}, {row["ratio_q75"]:.2f}]'


def memory_columns(row: dict, base: dict | None) -> Iterator[tuple[str, str]]:
    """Headings and cells of what benchmarks/training.py counts, as far as ``row`` has it."""
    for key, title in (('saved_bytes', 'saved MiB'), ('peak_bytes', 'peak MiB')):
        if key in row:
            yield title, f'{row[key] / 2**20:.1f}'
            yield 'ratio', f'{row[key] / base[key]:.3f}' if base else '-'


def cells(result: dict) -> list[tuple[str, ...]]:
    """Header and rows; the paper's columns and those of memory only where there is something."""
    rows = {row['label']: row for row in result['rows']}
    with_paper = any(row['paper'] for row in rows.values())
    lines = []
    for row in rows.values():
        columns = [
            ('model', row['label'].replace('@', ', ')),
            ('params M', f'{row["params"] / 1e6:.2f}'),
            ('size', f'{row["size"][0]}x{row["size"][1]}'),
            ('ms, mean ± std', f'{row["mean_s"] * 1e3:.1f} ± {row["std_s"] * 1e3:.1f}'),
            ('median', f'{row["median_s"] * 1e3:.1f}'),
            ('images/s', f'{row["images_per_s"]:.1f}'),
            ('ratio', ratio_text(row)),
            *memory_columns(row, rows.get(row['baseline'])),
        ]
        if with_paper:
            printed = row['paper_ratio']
            columns += [
                ('paper', row['paper'] or '-'),
                ('ratio, paper', '-' if printed is None else f'{printed:.3f}'),
            ]
        lines.append(tuple(cell for _, cell in columns))
    return [tuple(title for title, _ in columns), *lines]


def describe(result: dict) -> str:
    """One paragraph: machine, versions, settings, command."""
    facts, setting = result['machine'], result['setting']
    where = facts.get('gpu') or f'{facts["cpu"]}, {setting["threads"]} of {facts["cores"]} cores'
    text = (
        f'{where}; torch {result["versions"]["torch"]}; {setting["precision"]}, batch '
        f'{setting["batch"]}, median of {setting["repeats"]} rounds, {result["date"][:10]}. Ratio: '
        'of medians [quartiles over the rounds]'
    )
    if setting.get('clock') == 'cpu':
        text += '. Times: of the processor, other processes not counted'
    if result.get('paper'):
        unit, place = result['paper']
        text += f'. Paper: {unit}, {place}'
    return f'{text}. `{result["command"]}`'


def left_out(result: dict) -> list[str]:
    return [f'left out: {row["label"]}: {row["reason"]}' for row in result['left_out']]


def text_table(result: dict) -> str:
    """For a screen: text to the left, numbers to the right."""
    lines = cells(result)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    out = []
    for line in lines:
        numbers = [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        out.append('  '.join([line[0].ljust(widths[0]), *numbers]).rstrip())
    return '\n'.join([*out, '', describe(result), *left_out(result)])


def markdown_table(result: dict) -> str:
    """For a page of docs/."""
    header, *lines = cells(result)
    rows = [header, ('---',) * len(header), *lines]
    table = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    notes = ''.join(f'\n\n{line}' for line in left_out(result))
    return f'{describe(result)}\n\n{table}{notes}'
