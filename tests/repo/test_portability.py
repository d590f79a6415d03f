"""Training where Windows' Python lacks what Linux' has: the modules are taken away before."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What torch and others of the environment need is loaded before, as it would be there.
WITHOUT = """
import asyncio, logging, multiprocessing, random, sys, threading, subprocess, tempfile
import os, platform, signal
import psutil, torch, mmengine.runner
for name in ('fcntl', 'resource'):
    sys.modules[name] = None
import re
platform.system = lambda: 'Windows'  # mmengine imports resource elsewhere
sys.modules.setdefault('regex', re)  # a requirement of mmcv's on Windows alone
del os.register_at_fork, signal.SIGUSR1
"""
TRAIN = """
from pathlib import Path
from selnext_mm.engine.resume.work_dir_lock import WorkDirLock
from selnext_mm.engine.hooks.progress import memory_text
import selnext_mm.analysis.comparison.runs, selnext_mm.engine.signals
from tests.engine.toy import build

class Trained(mmengine.hooks.Hook):
    iters = []

    def before_train_iter(self, runner, **rest):
        self.iters.append(runner.iter)

lock = WorkDirLock(sys.argv[1])
lock.acquire()
runner = build(sys.argv[1], [Trained()], iters=int(sys.argv[2]), val=False)
runner._resume = len(sys.argv) > 3
runner.train()
print(Trained.iters)
print(runner.iter, *sorted(p.name for p in Path(sys.argv[1]).glob('*.pth')), memory_text())
lock.release()
"""
SECOND = """
from selnext_mm.engine.resume import work_dir_lock
work_dir_lock.PATIENCE = 0.2
first = work_dir_lock.WorkDirLock(sys.argv[1])
first.acquire(); first.acquire()
try:
    work_dir_lock.WorkDirLock(sys.argv[1]).acquire()
except work_dir_lock.UserError as error:
    print(error)
first.release()
work_dir_lock.WorkDirLock(sys.argv[1]).acquire()
print('free')
"""


def python(code, *arguments):
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', WITHOUT + code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.strip().splitlines()


@pytest.mark.integration
def test_two_iterations_are_trained_saved_and_resumed(tmp_path):
    trained, line = python(TRAIN, tmp_path, 2)[-2:]
    assert trained == '[0, 1]'
    iteration, *files, size, unit = line.split()
    assert (iteration, files, unit) == ('2', ['iter_2.pth'], 'MB')
    assert 100 < int(size) < 10_000
    trained, line = python(TRAIN, tmp_path, 4, 'resume')[-2:]
    assert trained == '[2, 3]'
    iteration, *files, _, _ = line.split()
    assert iteration == '4'
    assert 'iter_4.pth' in files


def test_a_second_training_is_refused_there_too(tmp_path):
    refused, free = python(SECOND, tmp_path)[-2:]
    assert refused.startswith(f'another training is running in {tmp_path}')
    assert free == 'free'
