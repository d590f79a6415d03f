"""The work-arounds do their job here and are inert elsewhere."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

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


def test_another_error_of_torchvision_is_not_hidden(tmp_path):
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision' / '__init__.py').write_text('raise RuntimeError("broken disk")\n')
    result = subprocess.run(
        [sys.executable, '-c', 'import sys; sys.path.insert(0, "."); import selnext_mm'],
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
