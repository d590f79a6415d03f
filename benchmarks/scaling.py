#!/usr/bin/env python3
"""Time SELNeXt and ConvNeXt against the side of the image and against the batch.

    python benchmarks/scaling.py --axis side --json benchmarks/results/scaling_side_cpu.json
    python benchmarks/scaling.py --axis batch --json benchmarks/results/scaling_batch_cpu.json
    python benchmarks/scaling.py --plot docs/images/scaling.png benchmarks/results/scaling_*.json

Each point is a run of its own, with all models in turns. Models are named as for
benchmarks/latency.py.
"""

import argparse
import statistics
import sys
from pathlib import Path

import torch
from _choose import parse_row
from _models import Setting, make
from _report import check_writable, command, now, read_json
from _session import CLOCKS, natural, pick_device, positive, show
from _timing import interleave

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError

MODELS = ('ConvNeXt-T backbone', 'SELNeXt-T backbone@deploy')
POINTS = {
    'side': (128, 192, 256, 384, 512, 768, 1024, 1536),
    'batch': (1, 2, 4, 8, 16, 32, 64),
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks/scaling.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--axis', choices=list(POINTS), default='side', help='what varies (default: side)')
    add('--points', nargs='+', type=positive, help='its values')
    add('--models', nargs='+', default=list(MODELS), help='default: ConvNeXt-T, SELNeXt-T deployed')
    add('--batch', type=positive, default=1, help='images, where the side varies (default: 1)')
    add('--side', type=positive, default=224, help='where the batch varies (default: 224)')
    add('--device', default='cpu', help='cpu, cuda or cuda:N (default: cpu)')
    add('--threads', type=positive, help="of the CPU (default: torch's)")
    add('--repeats', type=positive, default=5, help='timed rounds of a point (default: 5)')
    add('--warmup', type=natural, default=1, help='untimed rounds before (default: 1)')
    add('--clock', choices=list(CLOCKS), default='wall', help='cpu: of the processor, one thread')
    add('--json', metavar='FILE', help='write everything to this file, too')
    add('--plot', metavar='PNG', help='draw the files named after it instead of timing')
    add('files', nargs='*', metavar='FILE', help='results to draw')
    return parser.parse_args(argv)


def point_setting(args: argparse.Namespace, value: int, device: torch.device) -> Setting:
    batch, side = (args.batch, value) if args.axis == 'side' else (value, args.side)
    return Setting(device=device, batch=batch, size=(side, side), fixed_size=True)


def run(args: argparse.Namespace) -> dict:
    """Time all points; returns the result as the JSON file has it."""
    rows = [parse_row(name) for name in args.models]
    if args.json:
        check_writable(args.json)
    device = pick_device(args.device, tf32=False)
    if args.threads:
        torch.set_num_threads(args.threads)
    started, points = now(), []
    for value in args.points or POINTS[args.axis]:
        show(f'{args.axis} {value}')
        setting = point_setting(args, value, device)
        calls = {row.label: make(row, setting).call for row in rows}
        seconds = interleave(
            calls,
            repeats=args.repeats,
            warmup=args.warmup,
            clock=CLOCKS[args.clock],
            synchronize=torch.cuda.synchronize if device.type == 'cuda' else lambda: None,
        )
        for label, times in seconds.items():
            points.append(
                {
                    'label': label,
                    args.axis: value,
                    'images': setting.batch,
                    'pixels': setting.batch * setting.size[0] * setting.size[1],
                    'median_s': statistics.median(times),
                    'seconds': times,
                }
            )
    show('')
    options = ('axis', 'batch', 'side', 'repeats', 'warmup', 'clock')
    return {
        'title': f'Scaling with the {args.axis}',
        'date': started,
        'command': command(),
        'machine': machine(device),
        'versions': versions(),
        'setting': {
            'device': str(device),
            'threads': torch.get_num_threads(),
            **{name: getattr(args, name) for name in options},
        },
        'rows': points,
    }


def text(result: dict) -> str:
    """One line per point: the value, then ms and ns per pixel of each model."""
    axis = result['setting']['axis']
    labels = list(dict.fromkeys(row['label'] for row in result['rows']))
    lines = [f'{axis:>6}  ' + '  '.join(f'{label:>32}' for label in labels)]
    for value in dict.fromkeys(row[axis] for row in result['rows']):
        found = {row['label']: row for row in result['rows'] if row[axis] == value}
        cells = []
        for seconds, pixels in ((found[x]['median_s'], found[x]['pixels']) for x in labels):
            cells.append(f'{seconds * 1e3:12.1f} ms {seconds / pixels * 1e9:9.1f} ns/px')
        lines.append(f'{value:>6}  ' + '  '.join(f'{cell:>32}' for cell in cells))
    return '\n'.join(lines)


def plot(results: list[dict], path: str) -> None:
    """Time per pixel against the axis, one panel per result."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(5.2 * len(results), 3.6), squeeze=False)
    for axis, result in zip(axes[0], results, strict=True):
        name = result['setting']['axis']
        for label in dict.fromkeys(row['label'] for row in result['rows']):
            rows = [row for row in result['rows'] if row['label'] == label]
            axis.plot(
                [row[name] for row in rows],
                [row['median_s'] / row['pixels'] * 1e9 for row in rows],
                marker='o',
                label=label.replace(' backbone', '').replace('@', ', '),
            )
        values = sorted({row[name] for row in result['rows']})
        axis.set_xscale('log', base=2)
        axis.set_xticks(values, [str(value) for value in values])
        axis.set_ylim(bottom=0)
        fixed = ('batch', 'side')[name == 'batch']
        axis.set_xlabel(f'{name} ({fixed} {result["setting"][fixed]})')
        axis.set_ylabel('ns per pixel')
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.plot:
        if not args.files or not Path(args.plot).resolve().parent.is_dir():
            raise UserError('--plot PNG needs results to draw, and a folder that is there')
        plot([read_json(path) for path in args.files], args.plot)
        return 0
    if args.files:
        raise UserError(f'{args.files[0]}: results are for --plot')
    result = run(args)
    print(text(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
