"""benchmarks/training.py: bytes counted by hand, and a run from its command line."""

import json

import pytest
import torch
import training
from _models import Setting, UnavailableError
from _rows import Row
from torch import nn
from training import make_training, saved_bytes

from selnext_mm.__main__ import call

CPU = torch.device('cpu')
FAST = ('--size', '64', '64', '--batch', '2', '--repeats', '2', '--warmup', '0', '--settle', '0')


def test_saved_bytes_of_a_linear_layer_are_those_of_its_input():
    layer = nn.Linear(7, 11)
    x = torch.randn(5, 7, requires_grad=True)
    assert saved_bytes(lambda: layer(x), layer.parameters()) == 4 * 5 * 7
    # Without the exclusion the weight as well, for the gradient of x.
    assert saved_bytes(lambda: layer(x), []) == 4 * (5 * 7 + 7 * 11)


def test_a_storage_counts_once_and_whole():
    x = torch.randn(6, 4, requires_grad=True)
    y = torch.randn(6, 4)

    def forward():
        a = x * y
        b = x * y.t().t()  # y again, through a view
        return a + b

    assert saved_bytes(forward, []) == 4 * 24
    part = torch.randn(100)[:24].view(6, 4)
    assert saved_bytes(lambda: x * part, []) == 400


def test_nothing_is_saved_without_gradients():
    layer = nn.Linear(3, 3).requires_grad_(False)
    assert saved_bytes(lambda: layer(torch.randn(2, 3)), layer.parameters()) == 0


def test_a_step_gives_every_parameter_its_gradient():
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    row = Row('small', dict(type='SELNeXt', arch=arch))
    candidate = make_training(row, Setting(device=CPU, batch=2, size=(32, 32)))
    step = candidate.call
    step()
    (model,) = [c.cell_contents for c in step.__closure__ if isinstance(c.cell_contents, nn.Module)]
    assert model.training
    first = [p.grad.clone() for p in model.parameters()]
    assert all(g.any() for g in first)
    step()  # not added to the first step's
    for gradient, parameter in zip(first, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_checkpointing_saves_less():
    arch = dict(depths=(2, 2, 2, 2), channels=(8, 16, 16, 16))
    setting = Setting(device=CPU, batch=2, size=(64, 64))
    source = dict(type='SELNeXt', arch=arch, impl='reference')
    plain, recomputed = (
        make_training(Row('x', dict(source, with_cp=with_cp)), setting).facts
        for with_cp in (False, True)
    )
    # Of a block of width C only its input instead of, among others, two tensors of 4C.
    assert 0 < recomputed['saved_bytes'] < plain['saved_bytes'] / 3


def test_a_deployed_model_is_left_out():
    row = Row('x', dict(type='PATNet', arch='t0'), variants=('deploy',))
    with pytest.raises(UnavailableError, match='a deployed model is not trained'):
        make_training(row, Setting(device=CPU, batch=2, size=(64, 64)))


def test_a_backbone_whose_train_returns_nothing():
    pytest.importorskip('mmpretrain')
    row = Row('x', dict(type='mmpretrain.ConvNeXt', arch='atto'))
    assert make_training(row, Setting(device=CPU, batch=1, size=(32, 32))).facts['saved_bytes'] > 0


def test_a_run_reports_time_and_bytes(tmp_path, capsys):
    pytest.importorskip('mmpretrain')
    path = tmp_path / 'r.json'
    models = ['cls/mobilenet_v3_l_none_in1k.py', 'cls/mobilenet_v3_l_seln_in1k.py']
    options = [
        '--size',
        '64',
        '64',
        '--batch',
        '2',
        '--repeats',
        '2',
        '--warmup',
        '0',
        '--settle',
        '0',
    ]
    assert call(training.main, [*models, *options, '--json', str(path)]) == 0
    none, seln = json.loads(path.read_text())['rows']
    assert seln['saved_bytes'] > none['saved_bytes'] > 0
    printed = capsys.readouterr().out
    assert 'saved MiB' in printed
    assert f'{seln["saved_bytes"] / none["saved_bytes"]:.3f}' in printed
