"""Fixtures: a seed for every test, tiny real data, the COCO folder of the environment."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import selnext_mm  # noqa: F401 - registers the modules, before mmdet and mmpretrain are imported
from tests.processes import finish

ROOT = Path(__file__).resolve().parents[1]
MANY_MODULES = 100
FROZEN = [0]  # modules when the objects were frozen last
pytest_plugins = ['tests.small_models', 'tests.hub_server']
# The same cases in every run: a red test must come from a change. New cases are looked for by
# `pytest --hypothesis-profile=default`.
settings.load_profile('ci')
if 'PYTEST_XDIST_WORKER' in os.environ:
    # Test processes side by side: more threads than cores would wait for each other.
    torch.set_num_threads(1)
    os.environ['OMP_NUM_THREADS'] = '1'


def pytest_collection_modifyitems(items):
    """Long tests first: one that is begun last would keep a single process busy at the end."""
    items.sort(key=lambda item: item.get_closest_marker('integration') is None)


def pytest_runtest_setup(item):
    """Keep modules and collected tests out of garbage collections, which mmengine makes often.

    Each data set begins with one, and with all these objects it takes a second.
    """
    if len(sys.modules) - FROZEN[0] > MANY_MODULES:
        gc.collect()
        gc.freeze()
        FROZEN[0] = len(sys.modules)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """How a test process ended that died: xdist itself names only the test."""
    process = getattr(getattr(node.gateway, '_io', None), 'popen', None)
    if error and process is not None:
        sys.stderr.write(f'{node.gateway.id} ended with status {process.wait(10)}\n')


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _default_scope():
    """mmengine's default scope is global; a test must not leave its own behind."""
    from mmengine.registry import DefaultScope

    yield
    # Not what was there before: a fixture of a wider scope may have left it.
    DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def _loggers():
    """A run's logger writes to the captured output of its test, which is closed after it."""
    from mmengine.logging import MMLogger

    yield
    MMLogger._instance_dict.clear()


@pytest.fixture(autouse=True)
def _signal_handlers():
    """One that is left behind would act on, or end, a later test of the same process."""
    numbers = (signal.SIGINT, signal.SIGTERM, getattr(signal, 'SIGUSR1', signal.SIGTERM))
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert after == before, 'signal handlers were left behind'


@pytest.fixture
def unformatted_configs(monkeypatch):
    """Runs write their configs without yapf, which takes as long as a tiny training."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory):
    """A small synthetic COCO data set, made by the command that users run."""
    from selnext_mm.cli.make_shapes import main

    root = tmp_path_factory.mktemp('shapes') / 'shapes'
    assert main([str(root), '--train', '16', '--val', '8', '--size', '96']) == 0
    return root


@pytest.fixture
def annotations(shapes_root):
    """The COCO file of the validation split of :func:`shapes_root`."""
    return shapes_root / 'annotations' / 'instances_val2017.json'


@pytest.fixture(scope='session')
def coco_root():
    """Real COCO images in the official layout, from SELNEXT_MM_COCO."""
    root = os.environ.get('SELNEXT_MM_COCO')
    if not root:
        pytest.skip('set SELNEXT_MM_COCO to a COCO folder in the official layout to run this')
    assert Path(root, 'annotations', 'instances_val2017.json').is_file(), root
    return Path(root)


@pytest.fixture(scope='session')
def bccd_root():
    """The blood cells of BCCD as Pascal VOC, from SELNEXT_MM_BCCD."""
    root = os.environ.get('SELNEXT_MM_BCCD')
    if not root:
        pytest.skip('set SELNEXT_MM_BCCD to the folder of BCCD (JPEGImages, ...) to run this')
    assert Path(root, 'ImageSets', 'Main', 'train.txt').is_file(), root
    return Path(root)


@pytest.fixture
def run_tool(tmp_path):
    """Run a command of the project as a user does; return the finished process."""

    def run(*command, cwd=tmp_path, env=None, timeout=600):
        command = [str(c) for c in command]
        if command[0].endswith('.py') or command[0] == '-m':
            command = [sys.executable, *command]
        threads = os.environ.get('OMP_NUM_THREADS', '2')
        env = {'OMP_NUM_THREADS': threads, **(env or {})}
        return finish(command, cwd=cwd, env=env, timeout=timeout)

    return run


@pytest.fixture(scope='session')
def root():
    return ROOT
