"""``selnext-mm trade-off``: accuracy against its costs (Fig. 5; PATNet's Fig. 1 (b))."""

import argparse
import sys
from pathlib import Path

from selnext_mm.analysis.papers.tables import BASELINES, TABLES, TITLES
from selnext_mm.analysis.trade_off import Point, load_measured, trade_off
from selnext_mm.cli.model_options import write_rows
from selnext_mm.cli.parser import Parser
from selnext_mm.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm trade-off',
        description='Top-1 accuracy on ImageNet-1k against parameters, FLOPs and latency, as the '
        "SELNeXt paper prints them, or PATNet's, and against latencies measured here.",
    )
    result.add_argument(
        '--table',
        choices=tuple(TABLES),
        default='table2',
        help="%(default)s, as in Fig. 5, by default; patnet-*: PATNet's Fig. 1 (b)",
    )
    result.add_argument(
        '--measured',
        nargs='+',
        default=[],
        metavar='JSON',
        help='timings of benchmarks/latency.py, a column and a panel each',
    )
    result.add_argument('--out', required=True, metavar='PNG', help='the image to write')
    result.add_argument('--csv', metavar='F', help='write the rows to this file, too')
    result.add_argument('--json', metavar='F', help='write the rows to this file, too')
    return result


def _column(values: list[float | None]) -> list[str]:
    """Numbers with the same number of decimals, that of the longest, as papers print them."""
    digits = max((len(f'{v:.4g}'.partition('.')[2]) for v in values if v is not None), default=0)
    return ['-' if v is None else f'{v:.{digits}f}' for v in values]


def table(points: list[Point], labels: list[str], baseline: str) -> str:
    """The rows as text, every latency with its ratio to the baseline's."""
    base = next(p for p in points if p.name == baseline)
    accuracies = _column([p.accuracy for p in points])
    stars = ['*' if p.accuracy_source == 'measured' else '' for p in points]
    columns = [
        ['model', *(p.name for p in points)],
        ['params M', *_column([p.params for p in points])],
        ['FLOPs G', *_column([p.flops for p in points])],
        ['top-1', *map(''.join, zip(accuracies, stars, strict=True))],
    ]
    times = {'paper': [p.latency for p in points]}
    bases = {'paper': base.latency}
    for label in labels:
        times[label] = [p.measured.get(label) for p in points]
        bases[label] = base.measured.get(label)
    for label, values in times.items():
        columns.append([f'{label} ms', *_column(values)])
        ratios = [v / bases[label] if v and bases[label] else None for v in values]
        columns.append(['ratio', *('-' if r is None else f'{r:.3f}' for r in ratios)])
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        numbers = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append('  '.join([row[0].ljust(widths[0]), *numbers]))
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if Path(args.out).suffix.lower() != '.png':
        raise UserError(f'--out {args.out}; expected a file name that ends in .png')
    files = [load_measured(path) for path in args.measured]
    labels = [file.label for file in files]
    if len(set(labels)) < len(labels):
        raise UserError(f'the names of the files {labels} are not distinct; rename one')
    points, homeless = trade_off(args.table, files)
    from selnext_mm.visualization.curves import draw_trade_off

    rows = [
        {
            'model': p.name,
            'params_m': p.params,
            'flops_g': p.flops,
            'accuracy': p.accuracy,
            'accuracy_source': p.accuracy_source,
            'latency_ms_paper': p.latency,
            **{f'latency_ms_{label}': p.measured.get(label) for label in labels},
        }
        for p in points
    ]
    write_rows(args, rows)
    title = TITLES[args.table]
    note = f'{title} as printed'
    if args.table == 'table2':
        note += '; the points of a line, from left to right: T, S, B (ConvNeXt V2: T, B)'
    draw_trade_off(points, args.out, labels, note)
    baseline = BASELINES[args.table]
    print(table(points, labels, baseline))
    print(f'\nparams, FLOPs, top-1 and paper ms: {title}; ratio: to {baseline}')
    if any(p.accuracy_source == 'measured' for p in points):
        print('* accuracy taken from the file, not from the paper')
    if homeless:
        print(f'left out, no accuracy known: {", ".join(homeless)}', file=sys.stderr)
    print(f'wrote {args.out}')
    return 0
