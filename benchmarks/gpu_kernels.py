#!/usr/bin/env python3
"""Hold the kernels of SELNeXt's block on a GPU against the equations in float64.

    python benchmarks/gpu_kernels.py --json kernels.json
    TRITON_INTERPRET=1 python benchmarks/gpu_kernels.py --device cpu --precision fp32 --stages 8x5

For each precision and stage the norm of the difference over the norm of the exact values: of the
output without a gradient, of the output with one, and the largest of all gradients; beside it the
same of the plain layers in that precision. Everything is computed twice, because a launch that is
repeated takes another way to the driver, and the worse one counts. Status 1 if an error is above
what the package allows its kernels (ops/seln_block/gpu_choice.py).
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager

import torch
from _report import check_writable, command, now
from _session import pick_device, positive
from torch import Tensor
from traffic import STAGES

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError
from selnext_mm.ops.seln_block.equations import GATE_NORM_EPS, BlockWeights, block_reference
from selnext_mm.ops.seln_block.gpu_choice import TRIAL_ERROR, TRIAL_ERROR_TF32, gpu_block_works
from selnext_mm.ops.triton_launch import Launcher

PRECISIONS = {
    'bf16': torch.bfloat16,
    'fp32': torch.float32,
    'TF32': torch.float32,
    'fp16': torch.float16,
}


def stage(text: str) -> tuple[int, int]:
    """(channels, side) of '96x56'."""
    found = re.fullmatch(r'(\d+)x(\d+)', text)
    if not found or '0' in found.groups():
        raise argparse.ArgumentTypeError(f'{text}; expected CHANNELSxSIDE such as 96x56')
    return int(found[1]), int(found[2])


def draw(channels: int, device: torch.device) -> BlockWeights:
    """Weights for which no part of the block fades or overflows."""

    def new(*shape: int) -> Tensor:
        fan = math.prod(shape[1:]) if len(shape) > 1 else 4
        return (torch.randn(shape) * fan**-0.5).to(device)

    wide, hidden = 4 * channels, max(1, channels // 4)
    return BlockWeights(
        *(new(channels, 1, 7, 7), new(channels), new(wide, channels), new(wide)),
        *(new(hidden, wide), new(hidden), new(wide, hidden), new(wide), new(wide)),
        *(new(wide), new(channels, wide), new(channels), new(channels)),
    )


def both_passes(function: Callable, x: Tensor, w: BlockWeights, grad: Tensor) -> list[Tensor]:
    """The output and the gradients of ``x`` and all weights."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, *w)]
    out = function(leaves[0], BlockWeights(*leaves[1:]))
    return [out, *torch.autograd.grad(out, leaves, grad.to(out.dtype))]


def distance(found: Tensor, exact: Tensor) -> float:
    return float(((found.double() - exact).norm() / exact.norm()).detach())


@contextmanager
def tf32(on: bool):
    """TF32 for products and convolutions, or not."""
    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = on
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def measure(precision: str, channels: int, side: int, batch: int, device: torch.device) -> dict:
    """One row: the errors of the kernels and of the layers."""
    from selnext_mm.ops.seln_block.gpu_operator import GpuBlock, gpu_inference

    dtype, eps = PRECISIONS[precision], GATE_NORM_EPS
    torch.manual_seed(0)
    w = draw(channels, device)
    x, grad = (torch.randn(batch, channels, side, side).to(device) for _ in 'xg')
    wide = both_passes(
        lambda x, w: block_reference(x, w, eps),
        *(x.double(), BlockWeights(*(t.double() for t in w)), grad.double()),
    )

    def layers(x: Tensor, w: BlockWeights) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return block_reference(x, w, eps)

    def block(x: Tensor, w: BlockWeights) -> Tensor:
        return GpuBlock.apply(x, eps, None, dtype, *w)

    def errors(function: Callable, inference: Callable) -> tuple[float, float, float]:
        with torch.no_grad():
            plain = distance(inference(x, w), wide[0])
        out, *gradients = both_passes(function, x, w, grad)
        worst = max(map(distance, gradients, wide[1:]))
        return plain, distance(out, wide[0]), worst

    names = ('inference', 'output', 'gradients')
    on = precision == 'TF32'
    with tf32(on):
        # First of all: where launches by Triton itself are needed, the trial finds that out. In the
        # interpreter its larger maps would take minutes.
        used = device.type == 'cpu' or gpu_block_works(device, dtype, channels, on)
        twice = [errors(block, lambda x, w: gpu_inference(x, w, eps, None, dtype)) for _ in '12']
        plain = errors(layers, layers)
    allowed = TRIAL_ERROR_TF32 if on else TRIAL_ERROR[dtype]
    found = dict(zip(names, map(max, *twice), strict=True))
    return {
        **found,
        'layers': dict(zip(names, plain, strict=True)),
        'allowed': allowed,
        'right': all(value <= allowed for value in found.values()),
        'used': used,
        'direct': Launcher.direct,
    }


def row_of(precision: str, channels: int, side: int, batch: int, device: torch.device) -> dict:
    """The same with its name, or what went wrong."""
    row = {'precision': precision, 'channels': channels, 'side': side}
    try:
        return {**row, **measure(precision, channels, side, batch, device)}
    except Exception as error:  # a compiler's errors have no common class
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        return {**row, 'right': False, 'failure': f'{type(error).__name__}: {reason}'}


def text(rows: list[dict]) -> str:
    """A Markdown table."""
    lines = [
        '| | C, map | inference | output | gradients | layers | at most | |',
        '|---' * 8 + '|',
    ]
    for row in rows:
        name = f'| {row["precision"]} | {row["channels"]}, {row["side"]}x{row["side"]} |'
        if 'failure' in row:
            lines.append(f'{name} - | - | - | - | - | **{row["failure"]}** |')
            continue
        verdict = 'right' if row['right'] else '**wrong**'
        if not row['used']:
            verdict += ', but its trial failed: layers are used'
        lines.append(
            f'{name} {row["inference"]:.1e} | {row["output"]:.1e} | {row["gradients"]:.1e} | '
            f'{max(row["layers"].values()):.1e} | {row["allowed"]:.0e} | {verdict} |'
        )
    return '\n'.join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks/gpu_kernels.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--device', default='cuda', help='cuda, cuda:N, or cpu in the interpreter (default: cuda)')
    add('--precision', nargs='+', choices=list(PRECISIONS), default=list(PRECISIONS))
    add(
        '--stages',
        nargs='+',
        type=stage,
        metavar='CxSIDE',
        default=[(channels, side) for channels, side, _ in STAGES],
        help='channels and side of the map (default: those of T at 224x224)',
    )
    add('--batch', type=positive, default=4, help='images (default: 4)')
    add('--json', metavar='FILE', help='write everything to this file, too, after each precision')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.json:
        check_writable(args.json)
    device = pick_device(args.device, tf32=False)
    if device.type == 'cpu' and os.environ.get('TRITON_INTERPRET') != '1':
        raise UserError('--device cpu; set TRITON_INTERPRET=1, for the kernels need a GPU else')
    result = {
        'title': "The block's kernels against float64",
        'date': now(),
        'command': command(),
        'machine': machine(device),
        'versions': versions(),
        'setting': {'device': str(device), 'batch': args.batch},
        'complete': False,
        'rows': [],
    }
    for precision in args.precision:
        for channels, side in args.stages:
            result['rows'].append(row_of(precision, channels, side, args.batch, device))
        result['complete'] = precision == args.precision[-1]
        if args.json:
            write_json(args.json, result)
    print(text(result['rows']))
    wrong = sum(not row['right'] for row in result['rows'])
    if wrong:
        print(f'{wrong} of {len(result["rows"])} rows are wrong', file=sys.stderr)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
