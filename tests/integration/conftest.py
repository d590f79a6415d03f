"""A tiny training run, made once by the real tools."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import finish

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'mask_rcnn' / 'selnext_atto_shapes.py'
# Two epochs of 8 iterations on 96-pixel images, in the test's own process.
SMALL = [
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
    'param_scheduler.1.end=2',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'default_hooks.logger.interval=4',
]

TENSORBOARD = ['--tensorboard'] if importlib.util.find_spec('tensorboard') else []


def call(*command, cwd, env=None):
    return finish(command, cwd=cwd, env=env)


@pytest.fixture(scope='session')
def trained(shapes_root, tmp_path_factory):
    """(work dir, finished process) of a run through tools/train.py, from another folder."""
    folder = tmp_path_factory.mktemp('run')
    result = call(
        *(sys.executable, ROOT / 'tools' / 'train.py', CONFIG),
        *('--out', folder / 'work', '--data-root', shapes_root, *TENSORBOARD),
        *('--epochs', 2, '--batch-size', 2, '--workers', 0, '--lr', 0.001, '--seed', 0),
        *('--cfg-options', 'train_cfg.val_interval=2', 'default_hooks.logger.interval=4'),
        cwd=folder,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder / 'work', result


@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tracked files so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    files = call('git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard', cwd=ROOT)
    for name in filter(None, files.stdout.split('\0')):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    result = call(
        *(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation'),
        *('-w', folder, source),
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob('selnext_mm-*.whl')
    return path


@pytest.fixture(scope='session')
def site(wheel, tmp_path_factory):
    """Environment variables that put the installed wheel before the checkout."""
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', folder, wheel]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    return dict(PYTHONPATH=str(folder)), folder
