"""Gather-excite against its formula written with loops, and timm's layer where that works."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close


def build(**options):
    module = MODELS.build(dict(type='GatherExcite', in_channels=6, **options)).double().eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.0) if name.endswith('running_var') else tensor.normal_()
    return module


def windows(x, extent):
    """Means over (2 extent - 1)^2 positions every extent, each position taking the nearest."""
    n, c, height, width = x.shape
    rows, columns = (-(-size // extent) for size in (height, width))
    grid = torch.zeros(n, c, rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            top, left = i * extent - extent + 1, j * extent - extent + 1
            part = x[:, :, max(top, 0) : top + 2 * extent - 1, max(left, 0) : left + 2 * extent - 1]
            grid[:, :, i, j] = part.mean((2, 3))
    y = torch.zeros_like(x)
    for i in range(height):
        for j in range(width):
            y[:, :, i, j] = grid[:, :, i * rows // height, j * columns // width]
    return y


@pytest.mark.parametrize('size', [(8, 12), (7, 5), (1, 1)])
def test_without_parameters_it_is_the_mean_of_a_region(size):
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    mean = x.mean((2, 3), keepdim=True)
    assert_close(build()(x), x / (1 + torch.exp(-mean)))
    assert_close(build(extent=4)(x), x / (1 + torch.exp(-windows(x, 4))))


@pytest.mark.parametrize('extent', [None, 4])
def test_without_parameters_it_is_timms(extent):
    """timm's layer with parameters cannot be built in version 1.0.31."""
    layers = pytest.importorskip('timm.layers', reason='pip install timm (the extra timm)')
    theirs = layers.GatherExcite(6, extent=extent or 0, use_mlp=False)
    for size in ((16, 24), (7, 9)):
        x = torch.randn(2, 6, *size, dtype=torch.float64)
        assert_close(build(extent=extent)(x), theirs(x))


def depthwise(x, kernel):
    """A 3x3 convolution of stride 2 with a border of zeros, one kernel for each channel."""
    n, c, height, width = x.shape
    padded = torch.zeros(n, c, height + 2, width + 2, dtype=x.dtype)
    padded[:, :, 1:-1, 1:-1] = x
    out = torch.zeros(n, c, -(-height // 2), -(-width // 2), dtype=x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            window = padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            out[:, :, i, j] = (window * kernel[:, 0]).sum((2, 3))
    return out


@pytest.mark.parametrize('size', [(16, 24), (7, 9)])
def test_learned_it_is_convolutions_and_norms(size):
    module = build(extent=8, learned=True)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    y = x
    layers = [m for m in module.gather_layers if not isinstance(m, torch.nn.ReLU)]
    assert len(layers) == 6
    for conv, norm in zip(layers[::2], layers[1::2], strict=True):
        y = torch.clamp(y, min=0) if conv is not layers[0] else y
        mean, var = (v[:, None, None] for v in (norm.running_mean, norm.running_var))
        weight, bias = (v[:, None, None] for v in (norm.weight, norm.bias))
        y = (depthwise(y, conv.weight) - mean) / (var + 1e-5) ** 0.5 * weight + bias
    rows = torch.arange(size[0]) * y.shape[2] // size[0]
    columns = torch.arange(size[1]) * y.shape[3] // size[1]
    expected = x / (1 + torch.exp(-y[:, :, rows][:, :, :, columns]))
    assert_close(module(x), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(extent=6), 'extent=6; expected a power of 2'),
        (dict(learned=True), 'learned=True needs an extent'),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
