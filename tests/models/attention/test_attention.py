"""SE, ECA, GRN, GCT and CBAM against the oracles, and what all attention modules have in common."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.models import attention
from selnext_mm.models.attention.base import ChannelAttention, squeeze_width
from selnext_mm.models.attention.eca import eca_kernel_size
from tests.oracles import attention as oracle

GATES = ('sigmoid', 'hard-sigmoid', 'tanh', 'identity')
CASES = {
    **{f'SE {gate}': dict(type='SqueezeExcitation', reduction=4, gate=gate) for gate in GATES},
    'ECA': dict(type='EfficientChannelAttention'),
    'GRN': dict(type='GlobalResponseNorm'),
    'GCT': dict(type='GatedChannelTransformation'),
    'SELN': dict(type='SELN', reduction=4),
    'CBAM': dict(type='CBAM', reduction=4),
}


def randomized(name, channels=24, **kwargs):
    module = MODELS.build(dict(CASES[name], in_channels=channels, **kwargs)).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    if name == 'CBAM':
        module.norm.running_mean.fill_(0.3)
        module.norm.running_var.fill_(0.7)
    return module.eval()


def reference(name, module, x):
    if name.startswith('SE '):
        fc1, fc2 = module.fc1, module.fc2
        return oracle.se(x, fc1.weight, fc1.bias, fc2.weight, fc2.bias, name[3:])
    if name == 'ECA':
        return oracle.eca(x, module.conv.weight.flatten())
    if name == 'GCT':
        return oracle.gct(x, module.alpha, module.gamma, module.beta)
    if name == 'CBAM':
        layers = [p for layer in (module.fc1, module.fc2) for p in layer.parameters()]
        n = module.norm
        return oracle.cbam(
            x, *layers, module.conv.weight[0], n.running_mean, n.running_var, n.weight, n.bias
        )
    return oracle.grn(x, module.gamma, module.beta)


@pytest.mark.parametrize('name', [n for n in CASES if n != 'SELN'])
@pytest.mark.parametrize('shape', [(1, 1, 1, 24), (2, 7, 5, 33)])
def test_forward_and_gradients_equal_the_equations(name, shape):
    module = randomized(name, shape[-1])
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64)
    ours, theirs = module(x), reference(name, module, x)
    assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    inputs = [x, *module.parameters()]
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((theirs * weight).sum(), inputs),
        strict=True,
    ):
        assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('name', CASES)
def test_channels_first_is_the_same_function(name):
    last = randomized(name)
    first = randomized(name, data_format='channels_first')
    first.load_state_dict(last.state_dict())
    x = torch.randn(2, 6, 5, 24, dtype=torch.float64)
    assert_close(first(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), last(x))


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_large_activations_stay_finite_in_half_precision(name, dtype):
    # Small weights: the exact output itself has to fit into half precision.
    module = randomized(name, 32).float()
    for parameter in module.parameters():
        parameter.data.mul_(0.02)
    x = torch.full((2, 64, 64, 32), 1e3) + torch.randn(2, 64, 64, 32)
    exact = module(x)
    with torch.autocast('cpu', dtype=dtype):
        y = module(x.to(dtype))
    assert y.dtype == dtype
    assert torch.isfinite(y).all()
    assert ((y.float() - exact).norm() / exact.norm()) < 0.01


@pytest.mark.parametrize('name', CASES)
def test_it_runs_on_the_meta_device(name):
    with torch.device('meta'):
        module = MODELS.build(dict(CASES[name], in_channels=24))
        assert module(torch.empty(2, 4, 4, 24)).shape == (2, 4, 4, 24)


def test_grn_equals_mmpretrains():
    grn = pytest.importorskip('mmpretrain.models.utils.norm').GRN(24)
    ours = randomized('GRN').float()
    grn.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 4, 24)
    assert_close(ours(x), grn(x, data_format='channel_last'))


@pytest.mark.parametrize('name', ['GlobalResponseNorm', 'GatedChannelTransformation'])
def test_it_is_the_identity_at_init(name):
    x = torch.randn(2, 5, 4, 24)
    assert torch.equal(getattr(attention, name)(24)(x), x)


@pytest.mark.parametrize('name', CASES)
def test_the_gate_is_activation_of_excitation(name):
    module = randomized(name)
    x = torch.randn(2, 5, 4, 24, dtype=torch.float64)
    s = module.squeeze(x)
    assert_close(module.activate(module.excite(s)), module.gate(s))


def test_cbam_normalises_by_the_batch_in_training():
    module = randomized('CBAM')
    x = torch.randn(3, 5, 4, 24, dtype=torch.float64)
    u = x * module.gate(module.squeeze(x))[:, None, None, :]
    z = module.conv(torch.stack((u.amax(3), u.mean(3)), 1))
    mean, var = z.mean(), z.var(correction=0)
    n = module.norm
    args = (module.conv.weight[0], mean, var, n.weight, n.bias)
    layers = [p for layer in (module.fc1, module.fc2) for p in layer.parameters()]
    assert_close(module.train()(x), oracle.cbam(x, *layers, *args))
    assert n.running_mean.item() == pytest.approx(0.99 * 0.3 + 0.01 * mean.item())


def test_squeeze_widths_are_mobilenets():
    exact = {72: 24, 120: 32, 480: 120, 672: 168, 960: 240}
    assert {c: squeeze_width(c, 4, 8) for c in exact} == exact
    assert squeeze_width(33, 16) == 2
    assert squeeze_width(16, 4, 8) == 8


def test_eca_kernels():
    assert [eca_kernel_size(c) for c in (16, 72, 120, 480, 672, 960)] == [3, 3, 3, 5, 5, 5]


def test_registered_names_are_ours_alone():
    """A name of mmdet or mmpretrain would silently shadow ours in that scope."""
    ours = {k for k, v in MODELS.module_dict.items() if v.__module__.startswith('selnext_mm')}
    assert {'SELN', 'SqueezeExcitation', 'GlobalResponseNorm'} <= ours
    for package in ('mmdet', 'mmpretrain'):
        pytest.importorskip(f'{package}.models')
        registry = pytest.importorskip(f'{package}.registry').MODELS
        assert not ours & set(registry.module_dict), package


def test_every_attention_is_tested_here():
    built = {type(randomized(name)) for name in CASES}
    exported = {getattr(attention, name) for name in attention.__all__}
    assert built == {c for c in exported if issubclass(c, ChannelAttention)}


@pytest.mark.parametrize(
    ('cfg', 'text'),
    [
        (dict(type='SqueezeExcitation', gate='relu'), "gate='relu'.*'hard-sigmoid'"),
        (dict(type='SqueezeExcitation', reduction=0), 'reduction=0'),
        (dict(type='SELN', divisor=0), 'divisor=0'),
        (dict(type='EfficientChannelAttention', kernel_size=4), 'kernel_size=4'),
        (dict(type='GlobalResponseNorm', data_format='nchw'), "'nchw'.*channels_first"),
    ],
)
def test_wrong_arguments_name_the_choices(cfg, text):
    cls = MODELS.get(cfg.pop('type'))
    with pytest.raises(ValueError, match=text):
        cls(32, **cfg)


def test_a_gate_without_its_two_functions_cannot_be_built():
    with pytest.raises(TypeError, match=r'abstract methods.*activate.*excite'):
        ChannelAttention(8)
