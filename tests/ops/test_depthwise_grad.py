"""The gradients of the depth-wise convolution against autograd's in float64."""

import pytest
import torch
import torch.nn.functional as F

from selnext_mm.ops import depthwise_grad
from selnext_mm.ops.depthwise_grad import depthwise_backward, depthwise_backward_reference


def case(n, c, h, w, k, dtype=torch.float32):
    """``grad``, ``x`` and ``weight``, and the exact gradients of the last two."""
    grad, x = torch.randn(n, c, h, w).to(dtype), torch.randn(n, c, h, w).to(dtype)
    weight = torch.randn(c, 1, k, k).to(dtype)
    inputs = [t.double().requires_grad_() for t in (x, weight)]
    y = F.conv2d(*inputs, padding=k // 2, groups=c)
    return (grad, x, weight), torch.autograd.grad(y, inputs, grad.double())


def error(got, exact):
    exact = exact.detach()
    return float((got.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize('kernel', [1, 3, 7])
@pytest.mark.parametrize('size', [(33, 47), (7, 7), (1, 1), (2, 90)])
@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('positions', [1, 100, depthwise_grad.POSITIONS])
def test_they_are_autograds(monkeypatch, batch, size, kernel, positions):
    """Whatever the number of positions that are added up in one call."""
    monkeypatch.setattr(depthwise_grad, 'POSITIONS', positions)
    inputs, exact = case(batch, 10, *size, kernel)
    for function in (depthwise_backward, depthwise_backward_reference):
        got = function(*inputs)
        assert [t.shape for t in got] == [t.shape for t in exact]
        assert all(error(a, b) < 2e-6 for a, b in zip(got, exact, strict=True))


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_and_layouts(layout, dtype):
    inputs, exact = case(2, 24, 15, 11, 7, dtype)
    grad, x, weight = inputs
    got = depthwise_backward(*(t.contiguous(memory_format=layout) for t in (grad, x)), weight)
    plain = depthwise_backward_reference(*inputs)
    for fast, reference, truth in zip(got, plain, exact, strict=True):
        assert fast.dtype == dtype or (fast.dtype, dtype) == (torch.float32, torch.bfloat16)
        assert fast.is_contiguous() or fast.shape == x.shape, "strides of DDP's buckets"
        assert error(fast, truth) <= 1.05 * error(reference, truth) + 1e-12


def test_a_large_map_is_as_exact_as_torchs_own():
    """64,000 terms: one sum over all of them would be five times as far away."""
    inputs, exact = case(1, 8, 200, 320, 7)
    fast, reference = depthwise_backward(*inputs)[1], depthwise_backward_reference(*inputs)[1]
    assert error(fast, exact[1]) <= 2 * error(reference, exact[1])
    assert error(fast, exact[1]) < 3e-6


def test_the_weights_gradient_is_not_onednns(monkeypatch):
    """The slow operator is not called where there is a fast way."""
    called = []
    monkeypatch.setattr(
        *(depthwise_grad, 'depthwise_backward_reference', lambda *args: called.append(args) or args)
    )
    (grad, x, weight), _ = case(1, 4, 5, 5, 3)
    depthwise_backward(grad, x, weight)
    assert not called
    depthwise_backward(*(t.double() for t in (grad, x, weight)))
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    depthwise_backward(grad, x, weight)
    assert len(called) == 2
