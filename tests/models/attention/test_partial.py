"""The three partial attentions against their formulas, forward and gradient."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from selnext_mm.models.attention import (
    MeanStdGate,
    PartialChannelAttention,
    PartialConv,
    PartialSelfAttention,
    PartialSpatialAttention,
    SqueezeExciteGate,
)
from selnext_mm.models.attention.relative_position import (
    CACHED_SIZES,
    RelativePositionBias,
    cached_offset_buckets,
    distance_bucket,
)
from tests.oracles import patnet as oracle

CHANNEL = {
    'conv.weight': 'partial_conv3.weight',
    'gate.fc.weight': 'attn.cfc1.weight',
    'gate.norm': 'attn.bn',
}
SELF = {
    'conv.weight': 'partial_conv3.weight',
    'qkv.weight': 'attn.qkv.weight',
    'proj.weight': 'attn.proj.weight',
    'proj.bias': 'attn.proj.bias',
    'position.table': 'attn.rpe_k.lookup_table_bias',
}
SPATIAL = {'gate.weight': 'conv_attn.weight', 'gate_norm': 'norm', 'conv_norm': 'norm2'}


def randomize(module):
    """Every parameter and statistic matters (norms are 1 and 0 at init)."""
    module = module.double()
    for name, tensor in module.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.normal_(std=0.5)
    return module


def named(module, names):
    """The module's tensors as a function of the published names."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    published = {}
    for key, tensor in tensors.items():
        for ours, theirs in names.items():
            if key == ours or key.startswith(f'{ours}.'):
                key = theirs + key[len(ours) :]
                break
        published[key] = tensor
    return published.__getitem__


def check(module, reference, x, training=False):
    """Outputs and all gradients agree."""
    module.train(training)
    x.requires_grad_()
    inputs = [x, *module.parameters()]
    ours, theirs = module(x), reference(x)
    assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    weight = torch.randn_like(ours)
    a = torch.autograd.grad((ours * weight).sum(), inputs)
    b = torch.autograd.grad((theirs * weight).sum(), inputs)
    for p, q in zip(a, b, strict=True):
        # torch's backward of the hard sigmoid takes 1/6 in single precision.
        assert_close(p, q, rtol=1e-7, atol=1e-7)


def image(*shape):
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('shape', [(2, 16, 5, 7), (3, 8, 2, 1)])
def test_channel_attention_equals_the_formula(shape, training):
    module = randomize(PartialChannelAttention(shape[1]))
    p = named(module, CHANNEL)
    check(module, lambda x: oracle.channel_attention(x, p, training), image(*shape), training)


@pytest.mark.parametrize('training', [False, True])
def test_spatial_attention_equals_the_formula(training):
    module = randomize(PartialSpatialAttention(12))
    p = named(module, SPATIAL)
    check(module, lambda x: oracle.spatial_attention(x, p, training), image(2, 12, 5, 3), training)


@pytest.mark.parametrize('shape', [(2, 16, 5, 7), (1, 32, 1, 1), (1, 16, 24, 3)])
@pytest.mark.parametrize('training', [False, True])
def test_self_attention_equals_the_formula(shape, training):
    module = randomize(PartialSelfAttention(shape[1], num_heads=3, attn_drop=0, proj_drop=0))
    p = named(module, SELF)
    check(module, lambda x: oracle.self_attention(x, p, 3), image(*shape), training)


def test_attention_is_dropped_out_in_training_only(monkeypatch):
    rates = []
    original = nn.functional.scaled_dot_product_attention

    def spy(*args, dropout_p, **kwargs):
        rates.append(dropout_p)
        return original(*args, dropout_p=dropout_p, **kwargs)

    monkeypatch.setattr(nn.functional, 'scaled_dot_product_attention', spy)
    module = randomize(PartialSelfAttention(16, num_heads=2))
    x = image(1, 16, 4, 4)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
    assert rates == [0.1, 0.1, 0, 0]
    assert module.proj_drop.p == 0.1


def test_every_distance_to_399_has_the_published_bucket():
    ours = distance_bucket(torch.arange(400)).tolist()
    assert ours == [oracle.bucket(d) for d in range(400)]
    assert ours[20:23] == [60, 60, 61]
    assert (ours[151], ours[152], ours[399]) == (79, 80, 80)


@pytest.mark.parametrize(
    ('size', 'buckets'),
    [
        ((7, 7), range(40, 49)),
        ((9, 9), range(40, 52)),
        ((25, 42), range(40, 69)),
        ((1, 1), [40]),
    ],
)
def test_buckets_of_a_map(size, buckets):
    """At 224 pixels 9 buckets are in use, at 288 12 (distances to 11), at 800 x 1333 29."""
    used = cached_offset_buckets(*size, torch.device('cpu')).unique()
    assert used.tolist() == list(buckets)


def test_bias_of_1050_tokens_is_symmetric_and_right_at_samples():
    module = RelativePositionBias(2)
    nn.init.normal_(module.table)
    bias = module(torch.zeros(1, 1, 25, 42))
    assert bias.shape == (2, 1050, 1050)
    assert torch.equal(bias, bias.transpose(1, 2))
    for p, q in torch.randint(1050, (50, 2)).tolist():
        distance = ((p // 42 - q // 42) ** 2 + (p % 42 - q % 42) ** 2) ** 0.5
        assert torch.equal(bias[:, p, q], module.table[:, oracle.bucket(round(distance))])


def test_the_cache_is_bounded_and_used():
    module = RelativePositionBias(1)
    cached_offset_buckets.cache_clear()
    for i in range(CACHED_SIZES + 10):
        module(torch.zeros(1, 1 + i))
    for _ in range(3):
        module(torch.zeros(3, 2))
        module(torch.zeros(2, 3))
    info = cached_offset_buckets.cache_info()
    assert info.currsize == CACHED_SIZES
    assert info.misses == CACHED_SIZES + 12
    assert info.hits == 4


def test_a_size_first_seen_in_inference_mode_can_be_trained_on():
    module = PartialSelfAttention(16, num_heads=2)
    cached_offset_buckets.cache_clear()
    x = torch.randn(1, 16, 9, 4)
    with torch.inference_mode():
        module(x)
    module(x).sum().backward()
    assert module.position.table.grad is not None


def test_shape_inference_leaves_nothing_in_the_cache():
    from torch._subclasses.fake_tensor import FakeTensorMode

    module = PartialSelfAttention(16, num_heads=2)
    cached_offset_buckets.cache_clear()
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        assert module(torch.empty(1, 16, 5, 6)).shape == (1, 16, 5, 6)
    assert cached_offset_buckets.cache_info().currsize == 0
    assert torch.isfinite(module(torch.randn(1, 16, 5, 6))).all()


@pytest.mark.parametrize('gate', [MeanStdGate, SqueezeExciteGate])
def test_a_constant_map_and_a_single_position_stay_finite(gate):
    module = gate(8).eval()
    for x in (torch.ones(1, 8, 4, 4), torch.randn(1, 8, 1, 1)):
        x.requires_grad_()
        y = module(x)
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert torch.isfinite(y).all()
        assert torch.isfinite(grad).all()


def test_one_image_in_training_names_the_remedy():
    module = MeanStdGate(8).train()
    with pytest.raises(ValueError, match='gate_norm_eval=True'):
        module(torch.randn(1, 8, 4, 4))
    module.norm.eval()
    assert torch.isfinite(module(torch.randn(1, 8, 4, 4))).all()


def test_half_precision_statistics_are_taken_in_float32():
    module = MeanStdGate(8).eval()
    x = 3e3 * torch.randn(1, 8, 64, 64)
    exact = module.gate(x)
    with torch.autocast('cpu', dtype=torch.float16):
        gate = module.gate(x.half())
    assert gate.dtype == torch.float32
    assert_close(gate, exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_the_norm_of_a_converted_gate_runs_in_float32(dtype):
    """A mean of 3000 with a deviation of 1 is one number in half precision."""
    module = MeanStdGate(8).eval()
    module.norm.running_mean.fill_(512.0)
    module.fc.weight.data.zero_()
    module.fc.weight.data[:, :, 0, 0].copy_(torch.eye(8))
    module.to(dtype)
    x = torch.full((1, 8, 8, 8), 512.0)
    x[:, 1, :, :4] = 512.5
    gate = module.gate(x.to(dtype))
    expected = torch.promote_types(dtype, torch.float32)
    assert gate.dtype == expected
    z = (x.to(dtype).to(expected).mean((2, 3)) - 512) / (1 + 1e-5) ** 0.5
    assert_close(gate.flatten(1), oracle.hard_sigmoid(z), rtol=1e-6, atol=1e-6)
    assert module(x.to(dtype)).dtype == dtype
    assert module.train()(torch.randn(2, 8, 4, 4, dtype=dtype)).dtype == dtype


def test_srm_has_two_numbers_per_channel():
    module = randomize(MeanStdGate(6, depthwise=True)).eval()
    x = image(2, 6, 3, 5)
    std, mean = torch.std_mean(x.flatten(2), 2)
    w = module.fc.weight[:, 0, 0]
    z = (w[:, 0] * mean + w[:, 1] * std)[:, :, None, None]
    n = module.norm
    z = (z - n.running_mean.view(-1, 1, 1)) / (n.running_var.view(-1, 1, 1) + 1e-5).sqrt()
    z = z * n.weight.view(-1, 1, 1) + n.bias.view(-1, 1, 1)
    assert_close(module(x), x * oracle.hard_sigmoid(z))


def test_squeeze_excite_is_its_formula():
    module = randomize(SqueezeExciteGate(8, reduction=4))
    x = image(2, 8, 3, 5)
    w1, w2 = module.fc1.weight[:, :, 0, 0], module.fc2.weight[:, :, 0, 0]
    s = torch.clamp(x.mean((2, 3)) @ w1.T + module.fc1.bias, min=0) @ w2.T + module.fc2.bias
    assert_close(module(x), x / (1 + torch.exp(-s))[:, :, None, None])


def test_partial_convolution_leaves_the_other_channels():
    module = PartialConv(16)
    x = torch.randn(1, 16, 5, 5)
    y = module(x)
    assert torch.equal(y[:, 4:], x[:, 4:])
    assert_close(y[:, :4], torch.conv2d(x[:, :4], module.conv.weight, padding=1))
    assert PartialConv(16, ratio=1).conv.weight.shape == (16, 16, 3, 3)
    assert PartialConv(16, ratio=1, depthwise=True).conv.weight.shape == (16, 1, 3, 3)


@pytest.mark.parametrize('kind', [PartialChannelAttention, PartialSelfAttention])
def test_scope_all_attends_the_convolved_channels(kind):
    heads = dict(num_heads=2) if kind is PartialSelfAttention else {}
    module = kind(16, scope='all', **heads).eval()
    x = torch.randn(2, 16, 4, 5)
    assert_close(module(x), module.attend(torch.cat(module.split_channels(x), 1)))
    assert module.attention_channels == 16


@pytest.mark.parametrize(
    ('build', 'text'),
    [
        (lambda: PartialConv(16, ratio=0), 'ratio=0'),
        (lambda: PartialConv(2), 'in_channels=2'),
        (lambda: PartialChannelAttention(16, scope='both'), "'rest', 'all'"),
        (lambda: PartialChannelAttention(16, ratio=1), 'no channel'),
        (lambda: PartialSpatialAttention(16, ratio=1.0), 'no channel'),
        (lambda: PartialSelfAttention(16, num_heads=5), 'divisor of 12'),
    ],
)
def test_wrong_arguments_name_the_choices(build, text):
    with pytest.raises(ValueError, match=text):
        build()
