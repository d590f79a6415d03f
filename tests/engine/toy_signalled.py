"""toy_signalled.py FOLDER WORKERS SIGNAL [val|test]: the toy run, signalled with all its workers.

The signal comes from another process, as those of torchrun, Slurm and terminals do (torch's
workers tell them from their own process's): after iteration 7, or in the first evaluation,
or in a test without training.
"""

import os
import subprocess
import sys
import time

import selnext_mm  # noqa: F401
from selnext_mm.engine.signals import stop_early
from tests.engine.toy import BeforeEnd, ToyMetric, build

folder, workers, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
process = ToyMetric.process


def signal_all(*args):
    program = f'import os; os.killpg({os.getpid()}, {number})'
    subprocess.run([sys.executable, '-c', program], start_new_session=True, check=True)
    time.sleep(0.3)  # who dies of it is noticed


def in_evaluation(self, *args):
    ToyMetric.process = process
    signal_all()
    process(self, *args)


os.setsid()
hooks = []
if sys.argv[-1] in ('val', 'test'):
    ToyMetric.process = in_evaluation
elif number:
    hooks = [BeforeEnd(7, signal_all)]
runner = build(folder, workers=workers, hooks=hooks)
if sys.argv[-1] == 'test':
    with stop_early():
        runner.val()
runner.train()
