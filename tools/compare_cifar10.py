#!/usr/bin/env python3
"""The small comparison on CIFAR-10, the same as "selnext-mm compare": see --help."""

from _run import run

run('compare')
