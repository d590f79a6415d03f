"""The block that keeps little for its gradient, on any device, against the equations in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from selnext_mm.models.backbones import SELNeXt
from selnext_mm.ops.seln_block.dispatch import plan_block, seln_block
from selnext_mm.ops.seln_block.equations import BlockWeights, block_reference
from selnext_mm.ops.seln_block.recompute import recompute_block
from tests.models.backbones.test_selnext_fast import saved_bytes
from tests.ops.seln_block.test_block import (
    NAMES,
    both_passes,
    check_layouts,
    error,
    oracle,
    weights,
)

SIZES = [(13, 9), (7, 7), (2, 3), (1, 1)]  # the gate goes into W2, and does not


def run(x, w, keep=None, dtype=torch.float32):
    return recompute_block(x, w, 1e-5, keep, dtype)


@pytest.mark.parametrize('batch', [1, 2, 5])
@pytest.mark.parametrize('size', SIZES)
def test_forward_and_gradient_equal_the_equations(batch, size):
    w, x = weights(), torch.randn(batch, 16, *size)
    out_grad = torch.randn_like(x)
    keep = torch.tensor([0.0, 2.0, 2.0, 0.0, 2.0][:batch])
    for factors in (None, keep):
        out, gradients = both_passes(run, x, w, out_grad, factors)
        exact, exact_gradients = both_passes(oracle, x, w, out_grad, factors)
        assert error(out, exact) < 1e-6
        for name, got, wanted in zip(('x', *NAMES), gradients, exact_gradients, strict=True):
            if wanted.any():
                assert error(got, wanted) < 1e-4, name
            else:
                assert not got.any(), name


@pytest.mark.parametrize('layout', ['contiguous', 'channels_last', 'window'])
@pytest.mark.parametrize('grad_layout', ['contiguous', 'channels_last', 'window'])
def test_the_memory_layout_does_not_matter(layout, grad_layout):
    check_layouts(run, layout, grad_layout)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('size', [(14, 14), (3, 3)])
def test_autocast_is_no_worse_than_the_reference(dtype, size):
    ours, theirs = [], []
    for _ in range(20):  # rounding is a matter of chance in a single case
        w, x = weights(32, requires_grad=True), torch.randn(4, 32, *size)
        out_grad = torch.randn_like(x)
        exact = both_passes(oracle, x, w, out_grad)
        with torch.autocast('cpu', dtype=dtype):
            assert plan_block(x, w, allow_untimed=True)[:2] == ('recompute', dtype)
            for function, errors in (
                (lambda x, w: seln_block(x, w, allow_untimed=True), ours),
                (lambda x, w: block_reference(x, w, 1e-5), theirs),
            ):
                out, gradients = both_passes(function, x, w, out_grad)
                assert all(t.dtype == torch.float32 for t in (out, *gradients))
                pairs = zip((out, *gradients), (exact[0], *exact[1]), strict=True)
                errors.append([error(got, wanted) for got, wanted in pairs])
    ours, theirs = (torch.tensor(errors).median(0).values for errors in (ours, theirs))
    for name, a, b in zip(('output', 'x', *NAMES), ours, theirs, strict=True):
        assert a <= 1.05 * b, name


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('size', [(14, 14), (3, 3)])
def test_the_first_layer_scale_does_not_drown_the_gradients(dtype, size):
    """1e-6, with gradients as a loss scale of 2^16 makes them."""
    torch.manual_seed(0)
    w = weights(32, requires_grad=True)
    w = w._replace(w2=w.w2.detach() * 0.1, gamma=torch.full((32,), 1e-6))
    x = torch.randn(4, 32, *size)
    out_grad = torch.randn_like(x) * 2**6
    _, exact = both_passes(oracle, x, w, out_grad)
    with torch.autocast('cpu', dtype=dtype):
        _, ours = both_passes(lambda x, w: run(x, w, None, dtype), x, w, out_grad)
        _, theirs = both_passes(lambda x, w: block_reference(x, w, 1e-5), x, w, out_grad)
    for name, a, b, wanted in zip(('x', *NAMES), ours, theirs, exact, strict=True):
        assert error(a, wanted) <= max(1.5 * error(b, wanted), 1e-3), name


TINY = dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40))


def twins():
    torch.manual_seed(1)
    fused = SELNeXt(TINY, out_indices=(0, 1, 2, 3), drop_path_rate=0.5, impl='fused')
    for parameter in fused.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 4
        nn.init.normal_(parameter, std=fan**-0.5)
    layers = copy.deepcopy(fused)
    for module in layers.modules():
        if hasattr(module, 'impl'):
            module.impl = 'reference'
    return fused, layers


def loss(model, x, dtype):
    torch.manual_seed(2)  # the same branches are dropped
    with torch.autocast('cpu', dtype=dtype):
        outs = model(x)
    return sum(out.float().square().mean() for out in outs)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_a_backbone_trains_in_autocast(dtype):
    results = []
    for model in twins():
        scaler = torch.amp.GradScaler('cpu', init_scale=2.0**10)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        x = torch.randn(4, 3, 64, 96, generator=torch.Generator().manual_seed(3))
        losses = []
        for _ in range(5):
            value = loss(model, x, dtype)
            optimizer.zero_grad()
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(value.item())
        results.append(losses)
    fused, layers = results
    assert_close(fused, layers, rtol=2e-2, atol=0)
    assert fused[-1] < 0.9 * fused[0]


def test_a_third_of_convnexts_memory_is_kept_in_autocast():
    arch = dict(depths=(3, 3, 9, 3), channels=(32, 64, 128, 256))  # as T has them, a third as wide
    convnext = SELNeXt(arch, attention_cfg=None, block_norm_cfg=dict(type='LN2d'))
    x = torch.randn(2, 3, 128, 128)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        ours, theirs = saved_bytes(SELNeXt(arch, impl='fused'), x), saved_bytes(convnext, x)
    assert 0.05 * theirs < ours < 0.35 * theirs


def test_large_activations_stay_finite_in_half_precision():
    w = weights(32, requires_grad=True)
    x = torch.randn(2, 32, 14, 14) * 300
    with torch.autocast('cpu', dtype=torch.float16):
        out, gradients = both_passes(
            lambda x, w: seln_block(x, w, allow_untimed=True), x, w, torch.randn_like(x) / 100
        )
    assert all(t.isfinite().all() for t in (out, *gradients))


def test_what_it_does_not_compute_stays_with_the_layers():
    w, x = weights(requires_grad=True), torch.randn(1, 16, 4, 4)
    assert plan_block(x, w, allow_untimed=True).kernel in ('cpu', 'recompute')
    some = w._replace(w1=w.w1.detach())
    assert plan_block(x, some, allow_untimed=True) is None
    double = BlockWeights(*(t.double() for t in w))
    assert plan_block(x.double(), double, allow_untimed=True) is None
    half = BlockWeights(*(t.half() for t in w))
    assert plan_block(x.half(), half, allow_untimed=True) is None
    with torch.autocast('cpu', dtype=torch.float16):
        assert plan_block(x, w) is None


def test_training_in_bfloat16_on_a_cpu_uses_it_unasked():
    w, x = weights(requires_grad=True), torch.randn(1, 16, 4, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert plan_block(x, w)[:2] == ('recompute', torch.bfloat16)
        assert plan_block(x, w._replace(w1=w.w1.detach())) is None
