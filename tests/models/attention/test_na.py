from functools import partial

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.models.attention import NAModule
from tests.oracles.na import conv_relu_conv, na

# module arguments -> the oracle's name of the similarity
VARIANTS = [
    (dict(), 'channel_mean'),
    (dict(similarity='l1'), 'l1'),
    (dict(context='mean'), 'none'),
    (dict(embedding=True), 'channel_mean'),
    (dict(similarity='l1', embedding=True), 'l1'),
]
IDS = ['published', 'l1', 'mean', 'embedding', 'l1-embedding']
variants = pytest.mark.parametrize(('kwargs', 'similarity'), VARIANTS, ids=IDS)


def randomized(channels, **kwargs):
    """A module whose gate depends on its input (it does not at init)."""
    module = NAModule(channels, **kwargs).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    torch.nn.init.constant_(module.weight, 1.7)
    return module


def embedding(layers):
    if layers is None:
        return lambda u: u
    first, _, second = layers
    return partial(
        conv_relu_conv,
        w1=first.weight[0, 0],
        b1=first.bias,
        w2=second.weight[0, 0],
        b2=second.bias,
    )


def reference(module, x, similarity):
    f, h = embedding(module.query), embedding(module.key)
    return na(x, module.weight, module.bias, similarity, f, h)


@variants
@pytest.mark.parametrize('shape', [(1, 2, 1, 1), (2, 5, 4, 7), (3, 32, 6, 6)])
def test_equals_the_formula(kwargs, similarity, shape):
    module = randomized(shape[1], **kwargs)
    x = torch.randn(shape, dtype=torch.float64)
    assert_close(module(x), reference(module, x, similarity), rtol=1e-12, atol=1e-12)


@variants
def test_gradients_equal_the_formula(kwargs, similarity):
    module = randomized(6, **kwargs)
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(x)
    inputs = [x, *module.parameters()]
    ours = torch.autograd.grad((module(x) * weight).sum(), inputs)
    theirs = torch.autograd.grad((reference(module, x, similarity) * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_the_similarities_are_not_the_same():
    a, b = randomized(8), randomized(8, similarity='l1')
    b.load_state_dict(a.state_dict())
    x = torch.randn(1, 8, 5, 5, dtype=torch.float64)
    assert (a(x) - b(x)).abs().max() > 1e-3


@variants
def test_every_channel_is_scaled_by_sigmoid_of_1_at_init(kwargs, similarity):
    x = torch.randn(2, 8, 4, 4)
    assert_close(NAModule(8, **kwargs)(x), x * torch.sigmoid(torch.tensor(1.0)))


@pytest.mark.parametrize(('kwargs', 'count'), [({}, 2), ({'embedding': True}, 42)])
def test_parameter_counts_are_the_papers(kwargs, count):
    assert sum(p.numel() for p in NAModule(256, **kwargs).parameters()) == count


@variants
@pytest.mark.parametrize('shape', [(2, 8, 1, 1), (1, 1, 4, 4), (1, 1, 1, 1)])
@pytest.mark.parametrize('fill', [0.0, 3.0, None])
def test_small_and_constant_inputs_give_finite_values_and_gradients(
    kwargs, similarity, shape, fill
):
    module = randomized(shape[1], **kwargs).float()
    x = torch.randn(shape) if fill is None else torch.full(shape, fill)
    x.requires_grad_()
    y = module(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    for tensor in (x, *module.parameters()):
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_computes_the_gate_in_float32(dtype):
    """Contexts this close need the 1e-5 that half precision does not have."""
    module = randomized(32).float()
    x = (0.5 + 1e-3 * torch.randn(2, 32, 64, 64)).to(dtype)
    exact = module(x.float())
    with torch.autocast('cpu', dtype=dtype):
        y = module(x)
    assert y.dtype == dtype
    assert ((y.float() - exact).norm() / exact.norm()) < 0.005


@variants
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_converted_module_computes_its_gate_in_float32(kwargs, similarity, dtype):
    module = randomized(8, **kwargs).to(dtype)
    x = torch.randn(2, 8, 5, 6).to(dtype).requires_grad_()
    y = module(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    exact = module.float()(x.detach().float())
    # Gate and product are rounded once each; a gate computed in half precision is off by more.
    eps = torch.finfo(dtype).eps
    assert_close(y.float(), exact, rtol=1.5 * eps, atol=1e-6)


@variants
def test_float64_input_is_computed_in_float64_by_a_float32_module(kwargs, similarity):
    module = randomized(8, **kwargs).float()
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    y = module(x)
    assert y.dtype == torch.float64
    assert_close(y, reference(module.double(), x, similarity), rtol=1e-12, atol=1e-12)


def test_large_activations_stay_finite_in_half_precision():
    x = (1e4 + torch.randn(1, 16, 64, 64)).half()
    assert torch.isfinite(randomized(16).float()(x)).all()


def test_pixel_order_does_not_matter_without_embedding():
    module = randomized(8)
    x = torch.randn(1, 8, 4, 6, dtype=torch.float64)
    assert_close(module(x.flip(2, 3)), module(x).flip(2, 3))


def test_channels_last_memory_is_the_same_function():
    module = randomized(8)
    x = torch.randn(2, 8, 4, 6, dtype=torch.float64)
    assert_close(module(x.contiguous(memory_format=torch.channels_last)), module(x))


@pytest.mark.parametrize(
    ('kwargs', 'text'),
    [
        (dict(in_channels=0), 'in_channels=0'),
        (dict(similarity='L1'), "'L1'.*channel_mean"),
        (dict(context='max'), "'max'.*similarity"),
        (dict(context='mean', embedding=True), 'has no effect'),
        (dict(context='mean', similarity='l1'), 'has no effect'),
    ],
)
def test_wrong_arguments_name_the_choices(kwargs, text):
    with pytest.raises(ValueError, match=text):
        NAModule(**{'in_channels': 8, **kwargs})


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r'4 channels.*in_channels=8'):
        NAModule(8)(torch.randn(1, 4, 2, 2))


def test_it_is_in_the_root_registry():
    assert isinstance(MODELS.build(dict(type='NAModule', in_channels=8)), NAModule)
