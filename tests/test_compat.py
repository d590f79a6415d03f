"""The work-arounds do their job here and are inert elsewhere."""

import json
import pkgutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from selnext_mm import compat
from selnext_mm.checkpoints.files import load_file


def python(code: str, tmp_path) -> str:
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_torchvision_mmdet_and_mmpretrain_import_after_the_package(tmp_path):
    out = python(
        """
        import selnext_mm, torchvision, mmdet.models, mmpretrain.models
        from mmengine.registry import MODELS
        print(MODELS.get('SELNeXt').__name__)
        """,
        tmp_path,
    )
    assert out.strip().endswith('SELNeXt')


def test_a_torchvision_that_loads_is_left_alone(tmp_path):
    """A stand-in for a healthy torchvision: nothing may be declared over it."""
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision' / '__init__.py').write_text('__version__ = "0.0"\n')
    out = python(
        """
        import importlib.util, json, sys
        sys.path.insert(0, '.')
        import torch
        from selnext_mm import compat
        print(json.dumps([compat.declare_torchvision_ops(), hasattr(torch.ops.torchvision, 'nms')]))
        """,
        tmp_path,
    )
    assert json.loads(out.splitlines()[-1]) == [False, False]


def test_the_package_alone_does_not_load_torchvision(tmp_path):
    """It takes as long as torch, and only detectors and timm's models want it."""
    out = python(
        """
        import sys
        import selnext_mm
        from mmengine.registry import MODELS
        MODELS.build(dict(type='SELNeXt', arch='atto'))
        print('torchvision' in sys.modules)
        import torchvision, torchvision.ops
        # As if nobody had been between.
        loader = type(torchvision.__spec__.loader).__name__
        print(loader, torchvision.__loader__ is torchvision.__spec__.loader)
        """,
        tmp_path,
    )
    assert out.splitlines()[-2:] == ['False', 'SourceFileLoader True']


def test_torchvision_does_not_load_the_compiler(tmp_path):
    """It takes a second; compiling works afterwards, and torchvision asks the real function."""
    out = python(
        """
        import sys
        import selnext_mm, torch, torchvision.ops
        print('torch._dynamo' in sys.modules)
        asked = torchvision.ops.roi_align.__globals__['is_compile_supported']
        print(asked('cpu'), 'torch._dynamo.convert_frame' in sys.modules)
        from torch._dynamo.utils import is_compile_supported
        print(is_compile_supported is not asked, is_compile_supported('cpu'))
        print(torch._dynamo.config.cache_size_limit > 0)
        print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)).tolist())
        """,
        tmp_path,
    )
    first, answer, other, config, compiled = out.splitlines()
    assert first == 'False'
    assert answer == f'{other.split()[1]} True'
    assert (other.split()[0], config, compiled) == ('True', 'True', '[2.0, 2.0]')


@pytest.mark.parametrize(
    'asks',
    [
        'import torch._dynamo; torch._dynamo.disable',
        'import torch; torch._dynamo.disable',
        'from torch._dynamo import disable',
        'from torch._dynamo.utils import counters',
        'import torch._dynamo.config',
    ],
)
def test_a_torchvision_that_wants_more_of_the_compiler_gets_it(asks, tmp_path):
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision' / '__init__.py').write_text(f'{asks}\n')
    out = python(
        """
        import sys
        sys.path.insert(0, '.')
        import selnext_mm, torchvision, torch
        print(type(sys.modules['torch._dynamo']).__name__, callable(torch._dynamo.disable))
        """,
        tmp_path,
    )
    assert out == 'module True\n'


def test_another_error_of_torchvision_is_not_hidden(tmp_path):
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision' / '__init__.py').write_text('raise RuntimeError("broken disk")\n')
    result = subprocess.run(
        [
            sys.executable,
            '-c',
            'import sys; sys.path.insert(0, "."); import selnext_mm, torchvision',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert 'broken disk' in result.stderr


def test_what_mmengine_stores_loads_with_weights_only(tmp_path):
    hub = MessageHub.get_instance('test_compat')
    for value in (1.0, 0.5):
        hub.update_scalar('train/loss', value)
    hub.update_info('seed', np.int64(3))
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict={'w': torch.ones(2)}, message_hub=hub.state_dict()), path)
    loaded = torch.load(path, weights_only=True)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.mean() == 0.75


def test_a_one_cycle_schedule_resumes_with_weights_only(tmp_path):
    from mmengine.optim import OneCycleLR

    def schedule():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        return optimizer, OneCycleLR(optimizer, eta_max=0.1, total_steps=20, by_epoch=False)

    optimizer, before = schedule()
    for _ in range(8):
        optimizer.step()
        before.step()
    torch.save(before.state_dict(), tmp_path / 'x.pth')
    _, after = schedule()
    after.load_state_dict(torch.load(tmp_path / 'x.pth', weights_only=True))
    assert after.anneal_func is before.anneal_func
    assert after.last_step == 8


class AskForAnything:
    def __init__(self, owner, name):
        self.asked = owner, name

    def __reduce__(self):
        return (getattr, self.asked)


@pytest.mark.parametrize('owner', [HistoryBuffer, OneCycleParamScheduler, 'text', [1]])
@pytest.mark.parametrize('name', ['__init__', '__class__'])
def test_getattr_is_allowed_for_known_functions_alone(tmp_path, owner, name):
    import pickle

    torch.save(AskForAnything(owner, name), tmp_path / 'x.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'x.pth', weights_only=True)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


def test_mmengines_loader_runs_no_code_from_a_file(tmp_path):
    from mmengine.runner import CheckpointLoader

    from selnext_mm.errors import UserError

    planted = tmp_path / 'planted'
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict=Hostile(planted)), path)
    with pytest.raises(UserError, match='run code'):
        CheckpointLoader.load_checkpoint(str(path))
    assert not planted.exists()


def test_mmengines_loader_reads_safetensors(tmp_path):
    from mmengine.runner import CheckpointLoader
    from safetensors.torch import save_file

    save_file({'w': torch.arange(3.0)}, tmp_path / 'w.safetensors')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'w.safetensors'))
    assert torch.equal(loaded['w'], torch.arange(3.0))
    assert load_file(tmp_path / 'w.safetensors').keys() == loaded.keys()


def test_inherited_configs_build_without_warnings(tmp_path):
    """``_base_ = 'selnext_mm::...'`` in somebody's folder; the scope has its registries."""
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'selnext_mm::mask_rcnn/selnext_t_3x_coco.py'\n"
        'model = dict(backbone=dict(arch="atto"), neck=dict(in_channels=[40, 80, 160, 320]))\n'
    )
    out = python(
        """
        import selnext_mm
        from mmengine.config import Config
        from mmengine.registry import HOOKS, OPTIM_WRAPPERS, PARAM_SCHEDULERS
        from mmdet.registry import MODELS
        cfg = Config.fromfile('mine.py')
        model = MODELS.build(cfg.model)
        print(type(model.backbone).__name__, len(model.backbone.stages[2]))
        from mmengine.optim import build_optim_wrapper
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        for scheduler in cfg.param_scheduler:
            PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=wrapper))
        """,
        tmp_path,
    )
    assert 'SELNeXt 6' in out
    assert 'WARNING' not in out


@pytest.fixture
def new_transformers(tmp_path):
    """A distribution of transformers 5, as far as mmengine and mmpretrain look at it."""
    folder = tmp_path / 'transformers'
    folder.mkdir()
    (folder / '__init__.py').write_text('from torch.optim import SGD as Adafactor\n')
    (folder / 'modeling_utils.py').write_text('raise TypeError("NoneType takes no arguments")\n')
    info = tmp_path / 'transformers-5.0.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: transformers\nVersion: 5.0.0\n')


MULTIMODAL = """
import sys
sys.path.insert(0, '.')
{first}
from mmpretrain.utils import dependency
print(dependency.WITH_MULTIMODAL)
import mmpretrain.models
print('imported', 'transformers.modeling_utils' in sys.modules)
"""


def test_mmpretrain_imports_beside_a_transformers_that_is_too_new(new_transformers, tmp_path):
    pytest.importorskip('mmpretrain')
    pytest.importorskip('pycocotools')
    out = python(MULTIMODAL.format(first='import selnext_mm'), tmp_path)
    assert out.splitlines()[-2:] == ['False', 'imported False']
    # What the work-around answers.
    code = MULTIMODAL.format(
        first='import selnext_mm\n'
        'name = "mmpretrain.utils.dependency"\n'
        'sys.meta_path[:] = [f for f in sys.meta_path if name not in getattr(f, "names", ())]'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    assert "from 'transformers'" in result.stderr.splitlines()[-1]


def test_a_transformers_that_fits_is_left_alone(new_transformers, tmp_path):
    pytest.importorskip('mmpretrain')
    pytest.importorskip('pycocotools')
    (tmp_path / 'transformers' / 'modeling_utils.py').write_text(
        'def apply_chunking_to_forward(): pass\n'
    )
    code = MULTIMODAL.format(first='import selnext_mm').split('import mmpretrain.models')[0]
    assert python(code, tmp_path).splitlines()[-1] == 'True'


# A setuptools without pkg_resources: nothing finds the module before our finder.
WITHOUT = """
import importlib.machinery, sys
real = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = staticmethod(
    lambda name, *args: None if name == 'pkg_resources' else real(name, *args)
)
"""
ASK = """
from mmengine.utils import get_installed_path, is_installed
print(is_installed('mmengine'), is_installed('nowhere-at-all'), get_installed_path('mmengine'))
"""


def test_mmengine_finds_distributions_without_pkg_resources(tmp_path):
    import mmengine

    out = python(f'{WITHOUT}import selnext_mm{ASK}', tmp_path)
    assert out.splitlines()[-1] == f'True False {mmengine.__path__[0]}'
    result = subprocess.run(
        [sys.executable, '-c', WITHOUT + ASK], cwd=tmp_path, capture_output=True, text=True
    )
    assert "No module named 'pkg_resources'" in result.stderr


def test_the_parts_of_pkg_resources_give_what_the_real_ones_give():
    from selnext_mm.distributions import Distribution, DistributionNotFound

    real = pytest.importorskip('pkg_resources', reason='install "setuptools<81" to run this')
    ours, theirs = Distribution('mmengine'), real.get_distribution('mmengine')
    assert (ours.version, ours.location) == (theirs.version, theirs.location)
    assert ours.get_metadata('top_level.txt') == theirs.get_metadata('top_level.txt')
    assert not ours.has_metadata('none.txt')
    with pytest.raises(DistributionNotFound):
        Distribution('nowhere-at-all')


def test_a_real_pkg_resources_comes_first(tmp_path):
    pytest.importorskip('pkg_resources', reason='install "setuptools<81" to run this')
    out = python('import selnext_mm, pkg_resources; print(pkg_resources.__file__)', tmp_path)
    assert out.strip().endswith('__init__.py')


def test_mmengine_looks_for_mmcv_where_python_has_no_find_loader(monkeypatch):
    """Python 3.14 has dropped it; a training asks for it when it wraps the model."""
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    before = mmcv_full_available()
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    compat.provide_find_loader()
    assert mmcv_full_available() == before
    assert pkgutil.find_loader('json') is not None
    assert pkgutil.find_loader('mmcv.no_such_module') is None


def test_a_python_that_has_find_loader_keeps_it(monkeypatch):
    own = object()
    monkeypatch.setattr(pkgutil, 'find_loader', own, raising=False)
    compat.provide_find_loader()
    assert pkgutil.find_loader is own
