"""toy_signalled.py FOLDER WORKERS SIGNAL [val]: the toy run, signalled with all its workers.

The signal comes from another process, as those of torchrun, Slurm and terminals do (torch's
workers tell them from their own process's): after iteration 7, or in the first evaluation.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

import selnext_mm  # noqa: F401
from tests.engine.toy import BeforeEnd, ToyMetric, build

folder, workers, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
process = ToyMetric.process


def wait_for_workers():
    """Until each has its shield: the first batch comes while the last worker still starts."""
    end = time.monotonic() + 30
    own = psutil.Process()
    for worker in own.children():
        while worker.cmdline() == own.cmdline() and time.monotonic() < end:
            status = Path(f'/proc/{worker.pid}/status').read_text()
            (blocked,) = re.findall(r'^SigBlk:\s*([0-9a-f]+)', status, re.M)
            if int(blocked, 16) >> (signal.SIGTERM - 1) & 1:
                break
            time.sleep(0.01)


def signal_all(*args):
    wait_for_workers()
    program = f'import os; os.killpg({os.getpid()}, {number})'
    subprocess.run([sys.executable, '-c', program], start_new_session=True, check=True)
    time.sleep(0.3)  # who dies of it is noticed


def in_evaluation(self, *args):
    ToyMetric.process = process
    signal_all()
    process(self, *args)


os.setsid()
hooks = []
if 'val' in sys.argv:
    ToyMetric.process = in_evaluation
elif number:
    hooks = [BeforeEnd(7, signal_all)]
build(folder, workers=workers, hooks=hooks).train()
