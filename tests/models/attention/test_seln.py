import pytest
import torch
from torch.testing import assert_close

from selnext_mm.models.attention import SELN
from tests.oracles.selnext import seln as oracle


def randomized(channels, **kwargs):
    """A SELN whose every parameter matters (norm and biases are 1 and 0 at init)."""
    module = SELN(channels, **kwargs).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def reference(module, x):
    fc1, fc2, norm = module.fc1, module.fc2, module.norm
    return oracle(x, fc1.weight, fc1.bias, fc2.weight, fc2.bias, norm.weight, norm.bias)


@pytest.mark.parametrize('shape', [(1, 1, 1, 32), (2, 7, 5, 48), (3, 4, 4, 33)])
def test_equals_the_equations(shape):
    module = randomized(shape[-1], reduction=16)
    x = torch.randn(shape, dtype=torch.float64)
    assert_close(module(x), reference(module, x), rtol=1e-12, atol=1e-12)


def test_gradients_equal_the_equations():
    module = randomized(32, reduction=8)
    x = torch.randn(2, 5, 3, 32, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 5, 3, 32, dtype=torch.float64)
    inputs = [x, *module.parameters()]
    ours = torch.autograd.grad((module(x) * weight).sum(), inputs)
    theirs = torch.autograd.grad((reference(module, x) * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_float32_is_within_1e_5():
    module = randomized(384, reduction=16)
    x = torch.randn(2, 14, 14, 384, dtype=torch.float64)
    exact = reference(module, x)
    ours = module.float()(x.float()).double()
    assert ((ours - exact).norm() / exact.norm()) < 1e-5


def test_channels_first_is_the_same_function():
    last = randomized(32, reduction=4)
    first = SELN(32, reduction=4, data_format='channels_first').double()
    first.load_state_dict(last.state_dict())
    x = torch.randn(2, 6, 5, 32, dtype=torch.float64)
    assert_close(first(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), last(x))


def test_gate_is_signed_and_normalised_at_init():
    module = SELN(64)
    for layer in (module.fc1, module.fc2):
        torch.nn.init.trunc_normal_(layer.weight, std=0.02)
        torch.nn.init.zeros_(layer.bias)
    mean = 100 * torch.randn(4, 64).abs()
    gate = module.gate(mean)
    assert_close(gate.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    assert (gate < 0).float().mean() > 0.2


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_large_activations_stay_finite_in_half_precision(dtype):
    """A half-precision sum over 64 * 64 values of 1e4 is far beyond 65504."""
    module = randomized(32).float()
    x = torch.full((2, 64, 64, 32), 1e4) + torch.randn(2, 64, 64, 32)
    exact = reference(module, x)
    with torch.autocast('cpu', dtype=dtype):
        y = module(x.to(dtype))
    assert y.dtype == dtype
    assert torch.isfinite(y).all()
    assert ((y.float() - exact).norm() / exact.norm()) < 0.01


def test_a_half_module_computes_its_gate_in_float32():
    module = randomized(32).float()
    x = torch.full((1, 64, 64, 32), 1e3)
    exact = module(x)
    half = module.to(torch.bfloat16)
    assert ((half(x.bfloat16()).float() - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize(
    ('kwargs', 'text'),
    [
        (dict(reduction=0), 'reduction=0'),
        (dict(reduction=33), '1..32'),
        (dict(data_format='nhwc'), "'nhwc'"),
    ],
)
def test_wrong_arguments_name_the_choices(kwargs, text):
    with pytest.raises(ValueError, match=text):
        SELN(32, **kwargs)
