#!/usr/bin/env python3
"""Time models against each other: in one process, in turns, in random order.

    python benchmarks/latency.py --suite table9 --json benchmarks/results/table9_cpu.json
    python benchmarks/latency.py ConvNeXt-T SELNeXt-T cls/patnet_s_in1k.py@deploy
    python benchmarks/latency.py --show benchmarks/results/*.json        # tables for docs/

A model is a name of a suite (--list), a config of ours, mmpretrain::FOLDER/CONFIG.py or
timm::NAME, each with @deploy, @compile, @channels_last after it as wanted. Suites are data:
benchmarks/_suites.py.
"""

import sys

from _models import Candidate, Setting, UnavailableError, make
from _rows import Row
from _session import base_parser, execute

from selnext_mm.__main__ import call


def make_deployed(row: Row, setting: Setting) -> Candidate:
    """The row deployed, or as it is where there is nothing to deploy."""
    try:
        return make(row.with_variants('deploy'), setting)
    except UnavailableError:
        return make(row, setting)


def main(argv: list[str] | None = None) -> int:
    parser = base_parser('benchmarks/latency.py', __doc__)
    parser.add_argument(
        '--deploy', action='store_true', help='switch_to_deploy() where a model has it'
    )
    args = parser.parse_args(argv)
    return execute(args, 'Latency', make_deployed if args.deploy else make)


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
