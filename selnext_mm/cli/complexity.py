"""``selnext-mm complexity``: parameters and MACs, beside the printed figures."""

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from selnext_mm.analysis.complexity import Complexity, measure
from selnext_mm.analysis.paper_figures import PAPER_FIGURES, PaperFigure, meets
from selnext_mm.config_files import config_root, find_config
from selnext_mm.errors import UserError

HEADER = ('config', 'shape', 'params M', 'paper', 'MACs G', 'FLOPs G', 'paper', 'status')
LEGEND = """\
MACs: convolutions, linear layers and matrix products. FLOPs: MACs plus one operation per output
of a biased convolution and of a ReLU, the counter of MMDetection 2. The printed FLOPs of
classifiers are held against MACs, those of detectors against FLOPs. Detectors: box heads on 1000
proposals, mask heads on 100 boxes. A figure is met if it rounds to the printed digits."""


@dataclass(frozen=True)
class Row:
    """One measured config; ``failures`` lists what is not met and has no recorded reason."""

    config: str
    measured: Complexity
    paper: PaperFigure | None
    failures: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        if self.paper is None:
            return '-'
        texts = [*self.failures, *self.differences]
        return f'differs: {"; ".join(texts)}' if texts else 'ok'


def config_name(path: Path) -> str:
    """``mask_rcnn/selnext_t_3x_coco.py`` for a config of ours, the path as given otherwise."""
    root, resolved = config_root().resolve(), path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)


def compare(config: str, measured: Complexity, paper: PaperFigure | None) -> Row:
    """Hold ``measured`` against the printed figures; another image size has no printed FLOPs."""
    if paper is None:
        return Row(config, measured, None)
    problems = []
    if not meets(measured.params, paper.params, 'params'):
        problems.append(f'{measured.params / 1e6:.3f} M params is not {paper.params}')
    if not meets(getattr(measured, paper.counter), paper.flops, 'flops'):
        value = getattr(measured, paper.counter) / 1e9
        problems.append(f'{value:.3f} G is not {paper.flops}')
    failures = []
    if measured.params != paper.exact_params:
        failures.append(f'{measured.params:,} params, not {paper.exact_params:,}')
    if paper.reason:
        return Row(config, measured, paper, tuple(failures), (*problems, paper.reason))
    return Row(config, measured, paper, (*problems, *failures))


def table(rows: list[Row]) -> str:
    cells = [HEADER]
    for row in rows:
        m, paper = row.measured, row.paper
        cells.append(
            (
                row.config,
                f'{m.shape[0]}x{m.shape[1]}',
                f'{m.params / 1e6:.3f}',
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


def measure_quietly(path: Path, shape: tuple[int, int] | None) -> Complexity:
    """Measure without the remarks that models log when they are built."""
    logging.disable(logging.INFO)
    try:
        return measure(path, shape)
    except ImportError as error:
        raise UserError(
            f'{path} cannot be built: {error}. "selnext-mm doctor" checks the environment'
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
        help='image size; default 800 1280 for detectors, 224 224 for classifiers',
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
    paths = [find_config(name) for name in args.configs or PAPER_FIGURES]
    rows = []
    for path in paths:
        name = config_name(path)
        # Printed figures belong to the default size.
        paper = None if args.shape else PAPER_FIGURES.get(name)
        measured = measure_quietly(path, tuple(args.shape) if args.shape else None)
        rows.append(compare(name, measured, paper))
    print(table(rows))
    print(f'\n{LEGEND}')
    if args.json:
        try:
            Path(args.json).write_text(as_json(rows) + '\n')
        except OSError as error:
            raise UserError(f'{args.json} could not be written: {error.strerror}') from error
    return int(args.check and any(row.failures for row in rows))
