"""The import of other people's modules: hooks around it, and libraries that come when called."""

import inspect
import subprocess
import sys

import pytest

from selnext_mm import import_hooks


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules to a folder on the path; they and their hooks are gone after the test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        path = tmp_path.joinpath(*name.split('.')).with_suffix('.py')
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def library(modules):
    modules('heavylib.__init__', 'top = 1\n')
    modules('heavylib.part', 'def double(x): return 2 * x\nclass Box: pass\nbox = Box()\n')


@pytest.mark.parametrize(
    'text',
    [
        'from heavylib.part import double\ndef use(): return double(4)\n',
        'import heavylib.part as p\ndef use(): return p.double(4)\n',
        'import heavylib.part\ndef use(): return heavylib.part.double(4)\n',
        'import heavylib\ndef use(): return heavylib.part.double(4)\n',
        'from heavylib import part\ndef use(): return part.double(4)\n',
        'def use():\n    from heavylib.part import double\n    return double(4)\n',
    ],
)
def test_a_deferred_library_comes_when_it_is_called(modules, text):
    library(modules)
    modules('user_of_heavylib', text)
    import_hooks.defer(['heavylib'], ['user_of_heavylib'])
    import user_of_heavylib

    assert 'heavylib' not in sys.modules
    assert user_of_heavylib.use() == 8
    assert 'heavylib.part' in sys.modules


def test_isinstance_asks_the_class(modules):
    library(modules)
    modules('user_of_heavylib', 'from heavylib.part import Box\n')
    import_hooks.defer(['heavylib'], ['user_of_heavylib'])
    import user_of_heavylib
    from heavylib.part import box

    assert isinstance(box, user_of_heavylib.Box)
    assert not isinstance('text', user_of_heavylib.Box)
    assert 'heavylib.part.Box' in repr(user_of_heavylib.Box)


def test_a_missing_library_is_missing_at_once(modules):
    text = 'try:\n    import nolib.part as p\nexcept ImportError:\n    p = None\n'
    modules('user_of_nolib', text)
    import_hooks.defer(['nolib'], ['user_of_nolib'])
    import user_of_nolib

    assert user_of_nolib.p is None


def test_other_modules_import_as_ever(modules):
    library(modules)
    modules('user_of_heavylib', '')
    modules('other', 'import heavylib\n')
    import_hooks.defer(['heavylib'], ['user_of_heavylib'])
    import other

    assert other.heavylib.top == 1


def test_a_hook_that_is_asked_for_twice_runs_once_and_leaves_no_trace(modules):
    modules('hooked', 'value = 1\n')
    calls = []

    def around(module, execute):
        execute(module)
        calls.append(module.value)

    for _ in range(2):
        import_hooks.around_import(['hooked'], around)
    import hooked

    assert calls == [1]
    assert type(hooked.__loader__) is type(hooked.__spec__.loader) is type(pytest.__loader__)


THINGS = """
from mmengine.registry import Registry
THINGS = Registry('things')
class Base: pass
"""
THING = """
from things import THINGS, Base
@THINGS.register_module()
class Thing(Base):
    limit = 3
    def __init__(self, size=1): self.size = size
"""


@pytest.fixture
def thing(modules):
    """A class that is registered before its module runs, and the registry."""
    modules('things', THINGS)
    modules('real_thing', THING)
    import things

    import_hooks.register_late('real_thing', 'Thing', lambda: things.THINGS)
    import real_thing

    assert not hasattr(real_thing, 'Base'), 'the module has not run'
    return real_thing.Thing, things


def test_a_late_class_is_registered_and_runs_its_module_when_built(thing):
    late, things = thing
    assert things.THINGS.get('Thing') is late
    assert not isinstance(things.Base(), late)
    assert not issubclass(things.Base, late)
    built = things.THINGS.build(dict(type='Thing', size=4))
    assert (built.size, type(built).__name__) == (4, 'Thing')
    assert isinstance(built, late)
    assert isinstance(built, things.Base)
    assert issubclass(type(built), late)
    assert things.THINGS.get('Thing') is type(built)


def test_a_late_class_is_called_asked_and_subclassed_as_the_real_one(thing):
    late, things = thing
    assert list(inspect.signature(late).parameters) == ['size']
    assert late.limit == 3
    assert late(size=2).size == 2

    class Mine(late):
        pass

    assert Mine(5).size == 5
    assert issubclass(Mine, things.Base)
    with pytest.raises(AttributeError):
        _ = late.nothing


SCRIPT = """
import sys
import selnext_mm, mmdet.apis, mmdet.evaluation, mmpretrain.apis
large = {'scipy', 'sklearn', 'matplotlib.pyplot', 'shapely', 'pandas'}
large |= {'sympy', 'torch.distributed.fsdp', 'torch.distributed.tensor', 'torch._dynamo'}
assert not large & set(sys.modules), large & set(sys.modules)
import numpy as np, torch
from mmdet.models.task_modules.assigners import hungarian_assigner
rows, columns = hungarian_assigner.linear_sum_assignment(np.array([[2, 1], [1, 2]]))
assert columns.tolist() == [1, 0] and 'scipy.optimize' in sys.modules
from mmdet.structures.mask import PolygonMasks
square = [np.array([0, 0, 8, 0, 8, 8, 0, 8.0])]
half = PolygonMasks([square], 8, 8).crop(np.array([0, 0, 4, 8]))
assert half.areas.tolist() == [32], half.areas
from mmdet.models.task_modules.tracking import KalmanFilter
KalmanFilter().project(np.zeros(8), np.eye(8))
from mmdet.models.task_modules.tracking import InterpolateTracklets

import inspect
import torch.distributed
from mmengine.optim import OPTIMIZERS, ZeroRedundancyOptimizer
from mmengine.registry import MODEL_WRAPPERS, STRATEGIES
wrapper = MODEL_WRAPPERS.get('MMFullyShardedDataParallel')
assert 'auto_wrap_policy' in inspect.signature(wrapper).parameters
assert 'torch.distributed.fsdp' in sys.modules
from mmengine.model import MMFullyShardedDataParallel, is_model_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel
assert issubclass(MMFullyShardedDataParallel.resolve(), FullyShardedDataParallel)
assert not is_model_wrapper(torch.nn.Linear(1, 1))
assert 'state_dict_cfg' in inspect.signature(STRATEGIES.get('FSDPStrategy')).parameters
torch.distributed.init_process_group(
    'gloo', rank=0, world_size=1, store=torch.distributed.HashStore()
)
weight = torch.nn.Parameter(torch.ones(2))
cfg = dict(type='ZeroRedundancyOptimizer', params=[weight], optimizer_type='SGD', lr=0.5)
optimizer = OPTIMIZERS.build(cfg)
assert isinstance(optimizer, ZeroRedundancyOptimizer)
weight.sum().backward()
optimizer.step()
assert weight.tolist() == [0.5, 0.5]
torch.distributed.destroy_process_group()
"""


def test_the_stack_starts_without_the_large_libraries_of_its_rare_parts():
    done = subprocess.run([sys.executable, '-c', SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
