"""``selnext-mm complexity``: parameters and MACs, beside the printed figures."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from selnext_mm.analysis.complexity import Complexity, measure
from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.analysis.papers.printed import PaperFigure, meets
from selnext_mm.cli.parser import Parser
from selnext_mm.config.build import quiet
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_root, find_config
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


@dataclass(frozen=True)
class Row:
    """One measured model; ``failures`` lists what is not met and has no recorded reason."""

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
        note = f' ({self.paper.note})' if self.paper.note else ''
        return (f'differs: {"; ".join(texts)}' if texts else 'ok') + note


def config_name(path: Path) -> str:
    """``mask_rcnn/selnext_t_3x_coco.py`` for a config of ours, the path as given otherwise."""
    root, resolved = config_root().resolve(), path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)


def counted_params(measured: Complexity, paper: PaperFigure | None) -> int:
    """All parameters, or those that the paper counts."""
    return getattr(measured, paper.params_counter) if paper else measured.params


def compare(config: str, measured: Complexity, paper: PaperFigure | None) -> Row:
    """Hold ``measured`` against the printed figures; another image size has no printed FLOPs.

    A reason excuses that its own figure is not met, never a count other than the recorded one.
    """
    if paper is None:
        return Row(config, measured, None)
    params, flops = counted_params(measured, paper), getattr(measured, paper.counter)
    operations = 'MACs' if paper.counter == 'macs' else 'FLOPs'
    failures, differences = [], []
    if not meets(params, paper.params, 'params'):
        text = f'{params / 1e6:.3f} M params is not {paper.params}'
        known = differences if paper.params_reason else failures
        known.append(': '.join(filter(None, (text, paper.params_reason))))
    if params != paper.exact_params:
        failures.append(f'{params:,} params, not {paper.exact_params:,}')
    if not meets(flops, paper.flops, 'flops'):
        text = f'{flops / 1e9:.3f} G is not {paper.flops}'
        known = differences if paper.flops_reason else failures
        known.append(': '.join(filter(None, (text, paper.flops_reason))))
    if flops != paper.exact_flops:
        failures.append(f'{flops:,} {operations}, not {paper.exact_flops:,}')
    return Row(config, measured, paper, tuple(failures), tuple(differences))


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


def measure_quietly(path: Path, shape: tuple[int, int] | None, options: Mapping = {}) -> Complexity:
    """Measure without the remarks that models log when they are built.

    ``options`` are values of ``cfg.model`` to change, by dotted key.
    """
    try:
        with quiet():
            config = path
            if options:
                config = load_config(path)
                config.merge_from_dict({f'model.{key}': value for key, value in options.items()})
            return measure(config, shape)
    except ImportError as error:
        raise UserError(
            f'{path} cannot be built: {error}. "selnext-mm doctor" checks the environment'
        ) from error


def figures_of(config: str) -> dict[str, PaperFigure | None]:
    """What is printed of a config, and of the models of a paper that are it with other options."""
    changed = {row: figure for row, figure in PAPER_FIGURES.items() if figure.config == config}
    return {config: PAPER_FIGURES.get(config), **changed}


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
    names = args.configs or [name for name, figure in PAPER_FIGURES.items() if not figure.config]
    rows = []
    for path in [find_config(name) for name in names]:
        name = config_name(path)
        # Printed figures belong to the default size.
        figures = {name: None} if args.shape else figures_of(name)
        needed = figures[name].requires if figures[name] else ''
        if not args.configs and needed and find_spec(needed) is None:
            remedy = f"pip install 'selnext_mm[{needed}]'"
            print(f'left out: {name} needs {needed} ({remedy})', file=sys.stderr)
            continue
        for row, paper in figures.items():
            options = paper.options if paper else {}
            shape = tuple(args.shape) if args.shape else None
            rows.append(compare(row, measure_quietly(path, shape, options), paper))
    print(table(rows))
    print(f'\n{LEGEND}')
    if args.json:
        write_output('--json', args.json, as_json(rows) + '\n')
    return int(args.check and any(row.failures for row in rows))
