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
    'AttentionMobileNetV3': dict(
        width_mult=0.25,
        attention_cfg=dict(type='SELN', reduction=4, divisor=8),
        out_indices=(0, 1, 2, 3),
    ),
    'FasterNet': dict(
        arch=dict(depths=(1, 1, 2, 1), embed_dim=16), out_indices=(0, 1, 2, 3), output_norm=True
    ),
}
# class name -> the optional package that it is built from
OPTIONAL = {'FasterNet': 'timm'}
# Unpadded convolutions round the size of a map down, padded ones round it up.
ROUNDS_UP = {'AttentionMobileNetV3'}
# Relative error that half precision may cause. Batch norms subtract what was rounded: a narrow net
# without training amplifies the rounding of the format (2 ** -11 and 2 ** -8) some hundredfold.
HALF_TOLERANCE = {'AttentionMobileNetV3': {torch.float16: 0.1, torch.bfloat16: 0.8}}


@pytest.fixture(params=sorted(SMALL))
def build(request):
    if request.param in OPTIONAL:
        pytest.importorskip(OPTIONAL[request.param])

    def make(**kwargs):
        model = MODELS.build(dict(SMALL[request.param], type=request.param, **kwargs))
        model.init_weights()
        return model

    make.rounds_up = request.param in ROUNDS_UP
    make.half_tolerance = HALF_TOLERANCE.get(request.param, {})
    return make


@torch.no_grad()
def settle_batch_norms(model):
    """Give batch norms the statistics of data; with those of an untrained net a signal fades."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        model.train()(torch.randn(8, 3, 64, 64))
    return model


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
        round_up = stride - 1 if build.rounds_up else 0
        assert out.shape[-2:] == tuple((side + round_up) // stride for side in size)
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
    assert bool(model.frozen_modules()) == bool(frozen)
    for stage in model.stages[:frozen]:
        assert not any(p.requires_grad for p in stage.parameters())
    assert all(p.requires_grad for stage in model.stages[frozen:] for p in stage.parameters())
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
    names = [*(f'backbone.{n}' for n in model.state_dict()), 'head.fc.weight']
    depths = [model.get_layer_depth(n, 'backbone.') for n in names]
    count = depths[0][1]
    assert {c for _, c in depths} == {count}
    assert min(d for d, _ in depths) == 0
    assert max(d for d, _ in depths) == count - 1


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_stays_close_to_float32(build, dtype):
    model = settle_batch_norms(build()).eval()
    x = torch.randn(1, 3, 64, 64)
    exact = model(x)
    with torch.autocast('cpu', dtype=dtype):
        outs = model(x)
    for out, reference in zip(outs, exact, strict=True):
        assert torch.isfinite(out).all()
        assert ((out.float() - reference).norm() / reference.norm()) < build.half_tolerance.get(
            dtype, 0.05
        )


@pytest.mark.parametrize('training', [False, True])
def test_region_features_do_not_depend_on_the_memory_layout(build, training):
    """mmcv's RoIAlign reads channels-last memory as if it were NCHW, silently."""
    from mmcv.ops import RoIAlign

    outs = build().train(training)(torch.randn(2, 3, 64, 64))
    boxes = torch.tensor([[0.0, 4.0, 8.0, 40.0, 60.0], [1.0, 0.0, 0.0, 63.0, 30.0]])
    for out, stride in zip(outs, (4, 8, 16, 32), strict=True):
        align = RoIAlign(3, 1 / stride, 2)
        expected = align(out.clone(memory_format=torch.contiguous_format), boxes)
        assert torch.equal(align(out, boxes), expected)
        assert out.is_contiguous()
