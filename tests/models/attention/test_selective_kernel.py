"""Selective kernels against their equations as sums, and in the place of a convolution."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close


def build(channels=8, **options):
    options = dict(groups=4, reduction=2) | options
    cfg = dict(type='SelectiveKernel', in_channels=channels, **options)
    module = MODELS.build(cfg).double().eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.0) if name.endswith('running_var') else tensor.normal_()
    return module


def normed(x, norm):
    """Batch norm with the running statistics."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (x - norm.running_mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)


def convolved(x, weight, groups, stride, dilation):
    """A padded 3x3 convolution as a sum over its nine places."""
    n, c, height, width = x.shape
    padded = torch.zeros(n, c, height + 2 * dilation, width + 2 * dilation, dtype=x.dtype)
    padded[:, :, dilation : dilation + height, dilation : dilation + width] = x
    full = torch.zeros(c, c, 3, 3, dtype=x.dtype)
    size = c // groups
    for g in range(groups):
        own = slice(g * size, (g + 1) * size)
        full[own, own] = weight[own]
    y = 0
    for i in range(3):
        for j in range(3):
            part = padded[:, :, i * dilation :, j * dilation :][:, :, :height, :width]
            y = y + torch.einsum('nchw,oc->nohw', part[:, :, ::stride, ::stride], full[:, :, i, j])
    return y


@pytest.mark.parametrize(('stride', 'dilation'), [(1, 1), (2, 1), (1, 2)])
def test_it_follows_its_equations(stride, dilation):
    module = build(stride=stride, dilation=dilation)
    x = torch.randn(2, 8, 7, 5, dtype=torch.float64)
    branches = [
        normed(convolved(x, conv.weight, conv.groups, stride, dilation), norm).clamp(min=0)
        for conv, norm, _ in module.branches
    ]
    mean = sum(branches).mean((2, 3))
    hidden = normed(mean @ module.fc1.weight.flatten(1).T, module.bn).clamp(min=0)
    logits = (hidden @ module.fc2.weight.flatten(1).T).view(2, 2, 8).exp()
    shares = (logits / logits.sum(1, keepdim=True))[..., None, None]
    assert_close(module(x), shares[:, 0] * branches[0] + shares[:, 1] * branches[1])


def test_gradients():
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(build(4, groups=2), (x,))


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='groups=32 does not divide the 48 channels'):
        MODELS.build(dict(type='SelectiveKernel', in_channels=48))
