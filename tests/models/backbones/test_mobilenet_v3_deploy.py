"""A deployed MobileNetV3: the same maps, the same state dict, and the layers where they count."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from selnext_mm.models.backbones import AttentionMobileNetV3, conv_norm

SELN = dict(type='SELN', reduction=4, divisor=8)


def build(**kwargs):
    """A narrow model whose norms have statistics and whose signal does not fade."""
    model = AttentionMobileNetV3(
        width_mult=0.25, attention_cfg=SELN, out_indices=(0, 1, 2, 3), **kwargs
    )
    for name, tensor in model.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        elif tensor.ndim == 1:
            tensor.add_(torch.randn_like(tensor), alpha=0.2)
    return model.eval()


@pytest.fixture
def merged(monkeypatch):
    """The calls of the merged convolution."""
    calls, real = [], conv_norm.conv_act

    def spy(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(conv_norm, 'conv_act', spy)
    return calls


def number(model):
    return sum(isinstance(m, conv_norm.ConvNorm) for m in model.modules())


@pytest.mark.parametrize('size', [(64, 64), (33, 47)])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_the_maps_are_the_same(size, layout, merged):
    model = build()
    x = torch.randn(3, 3, *size).to(memory_format=layout)
    exact = copy.deepcopy(model).double()(x.double())
    deployed = model.switch_to_deploy()(x)
    assert len(merged) == number(model) > 40
    for a, b in zip(deployed, exact, strict=True):
        assert b.std() > 0.01
        assert ((a - b).norm() / b.norm()) < 1e-5
        assert a.is_contiguous()


def test_weights_and_statistics_changed_after_deployment_are_used(merged):
    model, other = build(), build()
    keys = list(model.state_dict())
    model.switch_to_deploy()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)
        model.load_state_dict(other.state_dict())
        after = model(x)
        expected = other(x)
    assert list(model.state_dict()) == keys
    for a, b, c in zip(after, expected, before, strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(a, c, rtol=1e-2, atol=1e-2)


def test_a_deployed_model_refuses_to_be_trained():
    model = build().switch_to_deploy()
    assert model.eval() is model
    with pytest.raises(RuntimeError, match=r'deployed.*Build the model anew'):
        nn.Sequential(model).train()


def test_the_layers_compute_what_somebody_has_to_see(merged):
    model = build().switch_to_deploy()
    count = number(model)
    x = torch.randn(1, 3, 64, 64)
    seen = []
    with torch.no_grad():
        handle = model.stem[1].register_forward_hook(lambda *_: seen.append(1))
        model(x)
        handle.remove()
        assert (len(seen), len(merged)) == (1, count - 1)
        merged.clear()
        torch.jit.trace(model, x, check_trace=False)
        assert merged == []
        copy.deepcopy(model)(x)
        assert len(merged) == count
    merged.clear()
    wanted = x.clone().requires_grad_()
    model(wanted)[-1].sum().backward()
    assert wanted.grad.any()
    assert merged == []
