#!/usr/bin/env python3
"""The same as "selnext-mm test": see --help."""

from _run import run

run('test')
