"""``selnext-mm complexity``: parameters and MACs, beside the printed figures."""

import argparse
import json
import sys
from dataclasses import asdict

from selnext_mm.analysis.papers.rows import Row, counted_params, measure_rows
from selnext_mm.cli.parser import Parser
from selnext_mm.disk import write_output
from selnext_mm.errors import UserError

HEADER = ('config', 'shape', 'params M', 'paper', 'MACs G', 'FLOPs G', 'paper', 'status')
LEGEND = """\
MACs: convolutions, linear layers and matrix products. FLOPs: mmcv's count by modules, which adds
biases, ReLUs, norms and pooling and was the counter of MMDetection 2. Classifiers are held against
the printed FLOPs by their MACs, detectors and all models of the NA paper by mmcv's count.
Parameters of the NA paper's detectors: those that are trained, as it prints them. Detectors: box
heads on 1000 proposals, mask heads on 100 boxes. A figure is met if it rounds to the printed
digits and is the recorded count; a difference with a reason after it is known and no failure."""


def table(rows: list[Row]) -> str:
    cells = [HEADER]
    for row in rows:
        m, paper = row.measured, row.paper
        cells.append(
            (
                row.config,
                f'{m.shape[0]}x{m.shape[1]}',
                f'{counted_params(m, paper) / 1e6:.3f}',
                paper.params if paper else '-',
                f'{m.macs / 1e9:.3f}',
                f'{m.flops_mmcv / 1e9:.3f}',
                paper.flops if paper else '-',
                row.status,
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
    lines = []
    for line in cells:
        # Text to the left, numbers to the right; the last column is not padded.
        aligned = [line[0].ljust(widths[0])]
        aligned += [c.rjust(w) for c, w in zip(line[1:-1], widths[1:-1], strict=True)]
        lines.append('  '.join([*aligned, line[-1]]))
    return '\n'.join(lines)


def as_json(rows: list[Row]) -> str:
    return json.dumps(
        [
            {
                'config': row.config,
                **asdict(row.measured),
                'paper': asdict(row.paper) if row.paper else None,
                'status': row.status,
            }
            for row in rows
        ],
        indent=2,
    )


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='selnext-mm complexity',
        description='Parameters, MACs and FLOPs of the model of each config, without weights '
        'or data.',
        epilog=LEGEND,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'configs',
        nargs='*',
        metavar='CONFIG',
        help='paths, or names such as mask_rcnn/selnext_t_3x_coco.py; default: all configs that '
        'have printed figures',
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='image size; default 800 1280 for detectors, 512 2048 for segmentors, 224 224 for '
        'classifiers',
    )
    parser.add_argument('--json', metavar='F', help='write the rows to this file, too')
    parser.add_argument(
        '--check', action='store_true', help='exit with status 1 if a printed figure is not met'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.shape and min(args.shape) < 32:
        raise UserError(f'--shape {args.shape[0]} {args.shape[1]}; expected 32 or more each')
    if args.shape and args.check:
        raise UserError('--check holds for the printed image sizes; leave out --shape')
    rows = []
    for row in measure_rows(args.configs, tuple(args.shape) if args.shape else None):
        if isinstance(row, Row):
            rows.append(row)
        else:
            name, needed = row
            remedy = f"pip install 'selnext_mm[{needed}]'"
            print(f'left out: {name} needs {needed} ({remedy})', file=sys.stderr)
    print(table(rows))
    print(f'\n{LEGEND}')
    if args.json:
        write_output('--json', args.json, as_json(rows) + '\n')
    return int(args.check and any(row.failures for row in rows))
