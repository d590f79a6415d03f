#!/usr/bin/env python3
"""What the machine can do at best: GFLOP/s of a large product, GB/s of a large copy.

    python benchmarks/peak.py --threads 1 --clock cpu

The floor of a model's time is its operations over the first, and the bytes that it has to move
over the second.
"""

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
from _report import check_writable, command, now
from _session import CLOCKS, pick_device, positive

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError


def median_time(function: Callable[[], object], clock: Callable[[], float], repeats: int) -> float:
    """Median seconds of a call, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = clock()
        function()
        times.append(clock() - start)
    return statistics.median(times)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='benchmarks/peak.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--threads', type=positive, help="of the CPU (default: torch's)")
    add('--clock', choices=list(CLOCKS), default='wall', help='cpu: of the processor, one thread')
    add('--side', type=positive, default=2048, help='of the square matrices (default: 2048)')
    add('--mib', type=positive, default=256, help='that are copied (default: 256)')
    add('--repeats', type=positive, default=9, help='(default: 9)')
    add('--json', metavar='FILE', help='write the result to this file, too')
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.clock == 'cpu' and torch.get_num_threads() != 1:
        raise UserError('--clock cpu is for one thread; add --threads 1')
    if args.json:
        check_writable(args.json)
    clock = CLOCKS[args.clock]
    a, b, out = (torch.randn(args.side, args.side) for _ in range(3))
    product = median_time(lambda: torch.mm(a, b, out=out), clock, args.repeats)
    source = torch.randn(args.mib * 2**18)
    target = torch.empty_like(source)
    copy = median_time(lambda: target.copy_(source), clock, args.repeats)
    result = {
        'date': now(),
        'command': command(),
        'machine': machine(pick_device('cpu', tf32=False)),
        'versions': versions(),
        'threads': torch.get_num_threads(),
        'gflop_per_s': 2 * args.side**3 / product / 1e9,
        'copied_gb_per_s': 2 * source.nbytes / copy / 1e9,  # read and written
    }
    print(f'{result["gflop_per_s"]:.0f} GFLOP/s, {result["copied_gb_per_s"]:.1f} GB/s')
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
