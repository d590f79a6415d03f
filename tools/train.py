#!/usr/bin/env python3
"""The same as "selnext-mm train": see --help."""

from _run import run

run('train')
