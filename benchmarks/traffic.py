#!/usr/bin/env python3
"""Bytes, operations and launches of SELNeXt's block on a GPU, and the time they take at the least.

    python benchmarks/traffic.py --batch 96 --precision bf16

Counted, not run: the block's own code on tensors without memory, so no GPU is needed. Each launch
takes max(bytes / bandwidth, operations / speed); a cache may make a kernel faster than that.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from _launches import Launch, block_launches
from _session import positive
from torch import Tensor

from selnext_mm.__main__ import call

STAGES = ((96, 56, 3), (192, 28, 3), (384, 14, 9), (768, 7, 3))  # channels, side, blocks of T
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
# One H100 (SXM): bandwidth of a copy, operations of large products; not those of the data sheet.
BANDWIDTH = 3.0e12
SPEED = {'fp32': 45e12, 'bf16': 600e12, 'fp16': 600e12}


class Cost(NamedTuple):
    """``bytes`` read and written, ``flops`` as two per multiplication with addition."""

    bytes: int
    flops: int


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _flops(launch: Launch) -> int:
    """Of large products alone; the rest is bound by memory."""
    if launch.name == 'expand_kernel':  # the first layer with its GELU
        weight = launch.arguments['w1']
        return 2 * launch.arguments['y'].numel() * weight.shape[0]
    if launch.name not in ('addmm', 'addmm_', 'mm', 'bmm', 'baddbmm', '_addmm_activation'):
        return 0
    matrices = [t for t in _tensors(launch.arguments['args']) if t.ndim > 1][-2:]
    left, right = matrices
    return 2 * left.numel() * right.shape[-1]


def cost(launch: Launch) -> Cost:
    """Each tensor of a launch once: what is updated in place is read and written in one pass."""
    seen = {(t.untyped_storage()._cdata, t.storage_offset()): t for t in _tensors(launch.arguments)}
    size = sum(t.numel() * t.element_size() for t in seen.values())
    return Cost(size, _flops(launch))


def floor(launches: list[Launch], precision: str) -> tuple[float, float, float]:
    """(GB, GFLOP, microseconds at the least) of the launches one after the other."""
    costs = [cost(launch) for launch in launches]
    seconds = sum(max(c.bytes / BANDWIDTH, c.flops / SPEED[precision]) for c in costs)
    return sum(c.bytes for c in costs) / 1e9, sum(c.flops for c in costs) / 1e9, seconds * 1e6


def rows(batch: int, precision: str, training: bool) -> Iterator[tuple]:
    for channels, side, blocks in STAGES:
        forward, backward = block_launches(
            channels, (side, side), batch, DTYPES[precision], training, branch_scale=training
        )
        launches = forward + backward
        yield channels, side, blocks, len(launches), *floor(launches, precision)


def table(batch: int, precision: str) -> str:
    """Markdown: a row per stage, inference and training."""
    lines = [
        '| | C, map | launches | GB | GFLOP | us at least | blocks in T | ms at least |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for what, training in (('inference', False), ('training step', True)):
        total, count = 0.0, 0
        for channels, side, blocks, launches, size, flops, micros in rows(
            batch, precision, training
        ):
            total, count = total + blocks * micros / 1e3, count + blocks * launches
            lines.append(
                f'| {what} | {channels}, {side}x{side} | {launches} | {size:.2f} | {flops:.0f} | '
                f'{micros:.0f} | {blocks} | {blocks * micros / 1e3:.2f} |'
            )
        lines.append(f'| {what}, all blocks | | {count} | | | | 18 | {total:.2f} |')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='benchmarks/traffic.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--batch', type=positive, default=96, help='images (default: 96)')
    parser.add_argument('--precision', choices=DTYPES, default='bf16', help='(default: bf16)')
    args = parser.parse_args(argv)
    print(table(args.batch, args.precision))
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
