"""NA-MobileNetV2 against the oracle on published names."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.testing import assert_close

from tests.oracles.nanet import MOBILENET_V2, mobilenet_table, mobilenet_v2, published_weights

pytest.importorskip('mmpretrain', reason='NAMobileNetV2 derives from mmpretrain; install it')


def build(**kwargs):
    return MODELS.build(dict(type='NAMobileNetV2', **kwargs))


def by_position(state, model):
    """The published tensors under our names: both models list them in the order of the net."""
    state = {k: v for k, v in state.items() if not k.startswith('classifier.')}
    assert len(state) == len(model.state_dict())
    return dict(zip(model.state_dict(), state.values(), strict=True))


def test_output_equals_the_oracle():
    state = published_weights(mobilenet_table(num_classes=5))
    model = build().double().eval()
    model.load_state_dict(by_position(state, model), strict=True)
    x = torch.randn(1, 3, 65, 96, dtype=torch.float64)
    logits = model(x)[-1].mean((2, 3)) @ state['classifier.1.weight'].T
    expected = mobilenet_v2(state, x)
    assert_close(logits + state['classifier.1.bias'], expected, rtol=1e-9, atol=1e-9)


def test_parameters_are_the_published_count():
    with torch.device('meta'):
        model = build()
        plain = build(attention_cfg=None)
    head = 1280 * 1000 + 1000
    assert sum(p.numel() for p in model.parameters()) + head == 3_504_906
    assert sum(p.numel() for p in plain.parameters()) + head == 3_504_872


def test_every_block_ends_in_the_module():
    with torch.device('meta'):
        model = build()
    blocks = [block for i in range(1, 8) for block in getattr(model, f'layer{i}')]
    assert len(blocks) == sum(count for _, _, count, _ in MOBILENET_V2) == 17
    for block in blocks:
        assert type(block.conv[-1]).__name__ == 'NAModule'
    assert sum('.na.' in name for name, _ in model.named_parameters()) == 34


def test_every_parameter_gets_a_gradient():
    model = build(widen_factor=0.25)
    model.init_weights()
    assert model.train() is model
    for name, parameter in model.named_parameters():
        if name.endswith('na.weight'):
            nn.init.ones_(parameter)
    # A random projection: the mean of the normed output is the same whatever goes in.
    out = model(torch.randn(4, 3, 64, 64))[-1]
    (out * torch.randn_like(out)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize('scope', ['mmdet', 'mmpretrain', 'mmengine'])
def test_the_name_works_in_every_scope(scope):
    from importlib import import_module

    model = import_module(f'{scope}.registry').MODELS.build(dict(type='NAMobileNetV2'))
    assert type(model).__name__ == 'NAMobileNetV2'


def test_pretrained_weights_are_counted(tmp_path):
    source = build(widen_factor=0.25)
    source.init_weights()
    state = {f'backbone.{k}': v for k, v in source.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'cls.pth')
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'cls.pth'), prefix='backbone.', min_loaded=1.0
    )
    model = build(widen_factor=0.25, init_cfg=init_cfg)
    model.init_weights()
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
