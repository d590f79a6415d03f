"""What every backbone of the package has to do."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.testing import assert_close

from selnext_mm.models.backbones.base import Backbone

DETECTION = dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)
# class name -> arguments of a small instance for detection
SMALL = {
    'PATNet': dict(
        arch=dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40)),
        # Dropout would make two runs of one model differ.
        last_mixer_cfg=dict(type='PartialSelfAttention', attn_drop=0.0, proj_drop=0.0),
        out_indices=(0, 1, 2, 3),
        output_norm=True,
        gate_norm_eval=True,
    ),
    'SELNeXt': dict(
        arch=dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40)),
        layer_scale_init_value=0.5,
        **DETECTION,
    ),
}


@pytest.fixture(params=sorted(SMALL))
def build(request):
    def make(**kwargs):
        model = MODELS.build(dict(SMALL[request.param], type=request.param, **kwargs))
        model.init_weights()
        return model

    return make


def test_every_backbone_is_listed():
    registered = {
        cls.__name__
        for cls in MODELS.module_dict.values()
        if isinstance(cls, type) and issubclass(cls, Backbone)
    }
    assert registered == set(SMALL)


@pytest.mark.parametrize('size', [(64, 64), (70, 101), (224, 32)])
def test_strides_are_4_8_16_32(build, size):
    outs = build().eval()(torch.randn(1, 3, *size))
    for out, stride in zip(outs, (4, 8, 16, 32), strict=True):
        assert out.shape[-2:] == tuple(side // stride for side in size)
        assert torch.isfinite(out).all()


@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (0, -2), [1], 0, -1])
def test_every_parameter_gets_a_gradient(build, out_indices):
    model = build(out_indices=out_indices).train()
    outs = model(torch.randn(2, 3, 64, 64))
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_negative_and_listed_indices_are_the_same_stages(build):
    x = torch.randn(1, 3, 64, 64)
    torch.manual_seed(1)
    a = build(out_indices=[1, 3]).eval()
    b = build(out_indices=(-3, -1)).eval()
    b.load_state_dict(a.state_dict())
    for p, q in zip(a(x), b(x), strict=True):
        assert_close(p, q)


@pytest.mark.filterwarnings('error:.*use_reentrant')
def test_checkpointing_changes_no_gradient(build):
    plain = build().train()
    checkpointed = build(with_cp=True).train()
    checkpointed.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, checkpointed):
        sum((out**2).sum() for out in model(x)).backward()
    for (name, p), q in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert_close(p.grad, q.grad, msg=name)


def test_checkpointing_really_recomputes(build):
    model = build(with_cp=True).train()
    calls = []
    layer = next(m for m in model.stages.modules() if isinstance(m, nn.Conv2d))
    layer.register_forward_hook(lambda *_: calls.append(1))
    sum(out.sum() for out in model(torch.randn(1, 3, 64, 64))).backward()
    assert len(calls) == 2


@pytest.mark.parametrize('frozen', [0, 1, 3])
def test_frozen_stages_stay_frozen(build, frozen):
    model = build(frozen_stages=frozen)
    assert model.train() is model
    assert model.train(True).training
    sum((out * torch.randn_like(out)).sum() for out in model(torch.randn(1, 3, 64, 64))).backward()
    for module in model.frozen_modules():
        assert not any(m.training for m in module.modules())
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    assert len(model.frozen_modules()) == 2 * frozen
    assert any(p.requires_grad for p in model.parameters())
    assert not model.eval().training


def test_state_dict_round_trip(build):
    a, b = build().eval(), build().eval()
    assert b.load_state_dict(a.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    for p, q in zip(a(x), b(x), strict=True):
        assert torch.equal(p, q)


def test_layer_depths_cover_the_parameters(build):
    model = build()
    depths = [model.get_layer_depth(f'backbone.{n}', 'backbone.') for n in model.state_dict()]
    count = depths[0][1]
    assert {c for _, c in depths} == {count}
    assert min(d for d, _ in depths) == 0
    assert max(d for d, _ in depths) == count - 1


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_stays_close_to_float32(build, dtype):
    model = build().eval()
    x = torch.randn(1, 3, 64, 64)
    exact = model(x)
    with torch.autocast('cpu', dtype=dtype):
        outs = model(x)
    for out, reference in zip(outs, exact, strict=True):
        assert torch.isfinite(out).all()
        assert ((out.float() - reference).norm() / reference.norm()) < 0.05
