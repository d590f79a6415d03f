"""toy_signalled.py FOLDER WORKERS SIGNAL: the toy run, signalled with all its workers at step 7."""

import os
import sys

import selnext_mm  # noqa: F401
from tests.engine.toy import BeforeEnd, build

folder, workers, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
signal_all = BeforeEnd(7, lambda runner: os.killpg(0, number))
os.setsid()
build(folder, workers=workers, hooks=[signal_all] if number else []).train()
