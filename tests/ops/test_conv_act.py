"""A convolution with its activation in one pass against the same in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from selnext_mm.ops import conv_act as kernels
from selnext_mm.ops.conv_act import ACTIVATIONS, conv_act, has_fused_convolution

FUNCTIONS = {None: lambda x: x, 'ReLU': F.relu, 'Hardswish': lambda x: x * F.relu6(x + 3) / 6}
needs_onednn = pytest.mark.skipif(
    not has_fused_convolution(), reason='needs a torch with oneDNN on the CPU'
)


@pytest.fixture
def fused(monkeypatch):
    """The calls of the private operator."""
    calls, real = [], kernels._fused

    def spy(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(kernels, '_fused', spy)
    return calls


def case(groups=1, kernel=3, size=(9, 7)):
    weight = torch.randn(16, 16 // groups, kernel, kernel)
    return torch.randn(2, 16, *size), weight, torch.randn(16)


@needs_onednn
@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize(
    ('kernel', 'stride', 'groups'), [(1, 1, 1), (3, 2, 1), (5, 1, 16), (3, 2, 16)]
)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_it_equals_the_layers(activation, kernel, stride, groups, layout, fused):
    x, weight, bias = case(groups, kernel)
    options = (stride, kernel // 2, groups)
    exact = F.conv2d(*(t.double() for t in (x, weight, bias)), *options[:2], 1, groups)
    exact = FUNCTIONS[activation](exact)
    x = x.contiguous(memory_format=layout)
    before = x.clone()
    for function in (conv_act, kernels.conv_act_reference):
        out = function(x, weight, bias, *options, activation)
        assert ((out - exact).norm() / exact.norm()) < 1e-6
    assert len(fused) == 1
    assert torch.equal(x, before)


def in_double(x, *args):
    return conv_act(x.double(), *(t.double() for t in args), 1, 1, 1, 'ReLU')


def in_autocast(x, *args):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        return conv_act(x, *args, 1, 1, 1, 'ReLU')


def traced(x, *args):
    torch.jit.trace(lambda x: conv_act(x, *args, 1, 1, 1, 'ReLU'), x, check_trace=False)


def counted(x, *args):
    with FlopCounterMode(display=False) as counter:
        conv_act(x, *args, 1, 1, 1, 'ReLU')
    assert counter.get_total_flops() > 0


def empty(x, *args):
    assert conv_act(x[:0], *args, 1, 1, 1, 'ReLU').shape == (0, 16, 9, 7)


@pytest.mark.parametrize('unusual', [in_double, in_autocast, traced, counted, empty])
def test_torchs_own_layers_compute_what_is_unusual(unusual, fused):
    has_fused_convolution()  # whose trial calls do not count
    fused.clear()
    with torch.no_grad():
        unusual(*case())
    assert fused == []
