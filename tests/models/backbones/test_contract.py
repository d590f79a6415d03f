"""What every backbone of the package has to do."""

import ast
import logging
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import nn
from torch.testing import assert_close

from selnext_mm.models import backbones
from selnext_mm.models.backbones.base import Backbone
from selnext_mm.models.lazy import BACKBONES

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
    'NAResNet': dict(depth=18, base_channels=16, norm_eval=False, zero_init_residual=False),
    # The last convolution is always there; without its map it would have no gradient.
    'NAMobileNetV2': dict(widen_factor=0.25, out_indices=(1, 2, 4, 7)),
}
# Another package's classes with attention: the arguments and methods are theirs, so what only
# Backbone promises (any out_indices, stages, layer depths) is not asked of them.
DERIVED = set(BACKBONES)
# class name -> the optional package that it is built from
OPTIONAL = {'FasterNet': 'timm', **{name: package for name, (_, package) in BACKBONES.items()}}
# Unpadded convolutions round the size of a map down, padded ones round it up.
ROUNDS_UP = {'AttentionMobileNetV3', *DERIVED}
# Relative error that half precision may cause. Batch norms subtract what was rounded: a narrow net
# without training amplifies the rounding of the format (2 ** -11 and 2 ** -8) some hundredfold.
HALF_TOLERANCE = {
    'AttentionMobileNetV3': {torch.float16: 0.1, torch.bfloat16: 0.8},
    'NAResNet': {torch.bfloat16: 0.1},
    'NAMobileNetV2': {torch.float16: 0.2, torch.bfloat16: 0.8},
}


def builder(name):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])

    def make(**kwargs):
        model = MODELS.build(dict(SMALL[name], type=name, **kwargs))
        model.init_weights()
        for module in model.modules():
            if type(module).__name__ == 'NAModule':
                nn.init.normal_(module.weight)  # from 0 it would be the identity
        return model

    make.name = name
    make.rounds_up = name in ROUNDS_UP
    make.half_tolerance = HALF_TOLERANCE.get(name, {})
    return make


@pytest.fixture(params=sorted(SMALL))
def build(request):
    return builder(request.param)


@pytest.fixture(params=sorted(SMALL.keys() - DERIVED))
def build_own(request):
    return builder(request.param)


@pytest.fixture(params=sorted(DERIVED))
def build_derived(request):
    return builder(request.param)


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
    assert registered | set(BACKBONES) == set(SMALL)


def test_what_is_in_our_folder_is_registered_and_listed():
    """A file that registers in another way would escape the contract."""
    defined = {
        node.name
        for path in Path(backbones.__file__).parent.glob('*.py')
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(getattr(base, 'id', '') in ('Backbone', 'CountedPretrained') for base in node.bases)
    }
    assert defined - {'Backbone'} == set(SMALL)


@pytest.mark.parametrize('size', [(64, 64), (70, 101), (224, 32)])
def test_strides_are_4_8_16_32(build, size):
    outs = build().eval()(torch.randn(1, 3, *size))
    for out, stride in zip(outs, (4, 8, 16, 32), strict=True):
        round_up = stride - 1 if build.rounds_up else 0
        assert out.shape[-2:] == tuple((side + round_up) // stride for side in size)
        assert torch.isfinite(out).all()


@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (0, -2), [1], 0, -1])
def test_every_parameter_gets_a_gradient(build_own, out_indices):
    model = build_own(out_indices=out_indices).train()
    outs = model(torch.randn(2, 3, 64, 64))
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_every_parameter_of_a_derived_one_gets_a_gradient(build_derived):
    model = build_derived().train()
    sum((out * torch.randn_like(out)).sum() for out in model(torch.randn(2, 3, 64, 64))).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_derived_one_freezes_its_first_stage(build_derived):
    model = build_derived(frozen_stages=1)
    assert model.train() is model
    frozen = {'conv1', 'bn1', 'layer1'}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name.split('.')[0] not in frozen), name
    assert not any(module.training for module in model.layer1.modules())
    assert model.layer2.training


def test_negative_and_listed_indices_are_the_same_stages(build_own):
    x = torch.randn(1, 3, 64, 64)
    torch.manual_seed(1)
    a = build_own(out_indices=[1, 3]).eval()
    b = build_own(out_indices=(-3, -1)).eval()
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


def test_checkpointing_updates_running_statistics_once(build):
    plain, checkpointed = build().train(), build(with_cp=True).train()
    checkpointed.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, checkpointed):
        sum(out.sum() for out in model(x)).backward()
    for (name, a), b in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert_close(a, b, msg=name)


def test_checkpointing_really_recomputes(build):
    model = build(with_cp=True).train()
    calls = []
    first = model.stages if hasattr(model, 'stages') else model.layer1
    layer = next(m for m in first.modules() if isinstance(m, nn.Conv2d))
    layer.register_forward_hook(lambda *_: calls.append(1))
    sum(out.sum() for out in model(torch.randn(1, 3, 64, 64))).backward()
    assert len(calls) == 2


@pytest.mark.parametrize('frozen', [0, 1, 3])
def test_frozen_stages_stay_frozen(build_own, frozen):
    model = build_own(frozen_stages=frozen)
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


@pytest.mark.parametrize('name', ['FasterNet', 'PATNet', 'SELNeXt'])
@pytest.mark.parametrize('rate', [-0.1, 1, 2, '0.1', True])
def test_a_drop_path_rate_is_a_share(name, rate):
    with pytest.raises(ValueError, match=f'drop_path_rate={rate!r}; expected a drop path rate'):
        builder(name)(drop_path_rate=rate)


def test_state_dict_round_trip(build):
    a, b = build().eval(), build().eval()
    assert b.load_state_dict(a.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    for p, q in zip(a(x), b(x), strict=True):
        assert torch.equal(p, q)


def test_layer_depths_cover_the_parameters(build_own):
    model = build_own()
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


@pytest.mark.parametrize('name', SMALL)
def test_initial_weights_are_set_without_a_word(name):
    """mmengine logs several lines for each parameter of a module that stands alone."""
    lines = []
    handler = logging.Handler()
    handler.emit = lines.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        builder(name)()
    finally:
        logger.removeHandler(handler)
    assert [line.getMessage() for line in lines if line.levelno >= logging.INFO] == []


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        *((name, v) for name in ('in_channels', 'stem_patch_size') for v in ('3', 0, True, 2.0)),
        *(('mlp_ratio', v) for v in ('4', 0, -1, float('inf'), True)),
        *(('frozen_stages', v) for v in ('1', -1, 5)),
    ],
)
@pytest.mark.parametrize('cls', ['SELNeXt', 'PATNet', 'FasterNet'])
def test_a_wrong_size_is_named(cls, name, value):
    if cls == 'FasterNet':
        pytest.importorskip('timm')
    kind = getattr(backbones, cls)
    if name not in kind.__init__.__annotations__:
        pytest.skip(f'{cls} has no {name}')
    with pytest.raises(ValueError, match=f'{name}={value!r}; expected '):
        kind(**SMALL[cls] | {name: value})
