#!/usr/bin/env python3
"""Hold stored results against the targets for SELNeXt-T: print a Markdown table.

    python benchmarks/targets.py benchmarks/results/fast*.json benchmarks/results/training*.json

A target is a ratio of medians within one run. Where it allows a choice (the better layout of a
compiled model), the fastest row of each side counts.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from _report import read_json

from selnext_mm.__main__ import call


@dataclass(frozen=True)
class Target:
    """``limit``: largest ratio of ``value`` between the best of ``ours`` and of ``theirs``."""

    what: str
    suite: str
    device: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    limit: float
    value: str = 'median_s'
    precision: str = 'fp32'


OURS, THEIRS = 'SELNeXt-T backbone', 'ConvNeXt-T backbone'
EAGER = ((f'{OURS}@deploy',), (THEIRS,))
# On a GPU against the better of ConvNeXt's two layouts.
EAGER_GPU = ((f'{OURS}@deploy',), (THEIRS, f'{THEIRS}@channels_last'))
COMPILED = (
    (f'{OURS}@compile', f'{OURS}@deploy@compile'),
    (f'{THEIRS}@compile', f'{THEIRS}@compile@channels_last'),
)
TRAINED_COMPILED = ((f'{OURS}@compile',), COMPILED[1])
TRAINED = ((OURS, f'{OURS}@channels_last'), (THEIRS,))
TARGETS = (
    Target('inference, 8x224x224', 'fast', 'cpu', *EAGER, 0.40),
    Target('inference, 1x800x1280', 'fast-detection', 'cpu', *EAGER, 0.40),
    Target('inference, 8x224x224, compiled', 'fast', 'cpu', *COMPILED, 0.95),
    Target('inference, 1x800x1280, compiled', 'fast-detection', 'cpu', *COMPILED, 0.95),
    Target('training step, 8x224x224', 'training', 'cpu', *TRAINED, 0.75),
    Target('bytes saved, 8x224x224', 'training', 'cpu', *TRAINED, 0.35, 'saved_bytes'),
    *(
        Target('inference, 96x224x224', 'fast', 'cuda', *EAGER_GPU, limit, precision=precision)
        for precision, limit in (('bf16', 0.50), ('fp32, TF32', 0.70), ('fp32', 0.80))
    ),
    *(
        Target(
            *(f'inference, 96x224x224, {size} for T', 'fast', 'cuda'),
            *(
                tuple(
                    tuple(label.replace('-T', f'-{size}') for label in side) for side in EAGER_GPU
                )
            ),
            *(0.55, 'median_s', 'bf16'),
        )
        for size in 'SB'
    ),
    Target(
        *('inference, 96x224x224, compiled', 'fast', 'cuda', *COMPILED, 0.90),
        precision='bf16',
    ),
    Target(
        *('training step, 64x224x224', 'training', 'cuda', (OURS,), EAGER_GPU[1], 0.80),
        precision='bf16',
    ),
    Target(
        *('peak memory, 64x224x224', 'training', 'cuda', (OURS,), EAGER_GPU[1], 0.45),
        *('peak_bytes', 'bf16'),
    ),
    Target(
        *('training step, 64x224x224, compiled', 'training', 'cuda', *TRAINED_COMPILED, 0.95),
        precision='bf16',
    ),
)


def fits(target: Target, result: dict) -> bool:
    """Whether ``result`` is a run that ``target`` is about."""
    setting = result['setting']
    precision = setting['precision'] + (', TF32' if setting['tf32'] else '')
    return (result['suite'], setting['device'].split(':')[0], precision) == (
        target.suite,
        target.device,
        target.precision,
    )


def best(rows: dict[str, dict], labels: tuple[str, ...], value: str) -> float | None:
    """The smallest value of the rows that are there."""
    return min((rows[x][value] for x in labels if value in rows.get(x, ())), default=None)


def measure(target: Target, results: list[dict]) -> tuple[float, str] | None:
    """(ratio, the two values), or None where no run has both."""
    for result in results:
        if fits(target, result):
            rows = {row['label']: row for row in result['rows']}
            ours = best(rows, target.ours, target.value)
            theirs = best(rows, target.theirs, target.value)
            if ours and theirs:
                return ours / theirs, ' / '.join(map(unit(target.value), (ours, theirs)))
    return None


def unit(value: str) -> Callable[[float], str]:
    if value == 'median_s':
        return lambda x: f'{x * 1e3:.0f} ms'
    return lambda x: f'{x / 2**20:.0f} MiB'


def table(results: list[dict]) -> str:
    lines = ['| | SELNeXt-T / ConvNeXt-T | target | ratio | |', '|---' * 5 + '|']
    for target in TARGETS:
        what = f'{target.device.upper().replace("CUDA", "GPU")} {target.precision}, {target.what}'
        found = measure(target, results)
        if found is None:
            lines.append(f'| {what} | - | {target.limit:.2f} | not run | |')
            continue
        ratio, values = found
        met = 'met' if ratio <= target.limit else '**not met**'
        lines.append(f'| {what} | {values} | {target.limit:.2f} | {ratio:.3f} | {met} |')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='benchmarks/targets.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('files', nargs='+', metavar='FILE', help='results')
    print(table([read_json(path) for path in parser.parse_args(argv).files]))
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
