"""MobileNetV3: mmpretrain's with the same weights, timm's drop rates, counts of Tables 6 and 7."""

import re

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.models.backbones import AttentionMobileNetV3
from selnext_mm.models.backbones.mobilenet_v3 import InvertedResidual

ATTENTIONS = {
    'se': dict(type='SqueezeExcitation', reduction=4, divisor=8, gate='hard-sigmoid'),
    'tanh': dict(type='SqueezeExcitation', reduction=4, divisor=8, gate='tanh'),
    'identity': dict(type='SqueezeExcitation', reduction=4, divisor=8, gate='identity'),
    'seln': dict(type='SELN', reduction=4, divisor=8),
    'none': None,
    'grn': dict(type='GlobalResponseNorm'),
    'eca': dict(type='EfficientChannelAttention'),
}
HEAD = 960 * 1280 + 1280 + 1280 * 1000 + 1000


def blocks(model):
    return [m for m in model.modules() if isinstance(m, InvertedResidual)]


def mmpretrain_name(key, depths=(3, 3, 6, 3)):
    """Our parameter name in mmpretrain's naming: layer0 the stem, layer1..15 blocks, layer16."""
    parts = {'0': 'conv', '1': 'bn'}
    if match := re.fullmatch(r'stem\.(\d)\.(.+)', key):
        return f'layer0.{parts[match[1]]}.{match[2]}'
    stage, block, rest = re.fullmatch(r'stages\.(\d)\.(\d)\.(.+)', key).groups()
    layer = 1 + sum(depths[: int(stage)]) + int(block)
    if match := re.fullmatch(r'(\d)\.(.+)', rest):
        return f'layer{layer}.{parts[match[1]]}.{match[2]}'
    if match := re.fullmatch(r'attention\.fc(\d)\.(.+)', rest):
        return f'layer{layer}.se.conv{match[1]}.conv.{match[2]}'
    name, index, leaf = re.fullmatch(r'(\w+)\.(\d)\.(.+)', rest).groups()
    name = {'expand': 'expand_conv', 'depthwise': 'depthwise_conv', 'project': 'linear_conv'}[name]
    return f'layer{layer}.{name}.{parts[index]}.{leaf}'


def test_with_se_it_is_mmpretrains():
    pytest.importorskip('mmpretrain.models')
    theirs = MODELS.build(
        dict(
            type='mmpretrain.MobileNetV3',
            arch='large',
            norm_cfg=dict(type='BN', eps=1e-5),
            out_indices=(3, 6, 12, 16),
        )
    )
    ours = AttentionMobileNetV3(out_indices=(0, 1, 2, 3))
    for name, tensor in ours.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        elif tensor.ndim == 1:
            tensor.add_(torch.randn_like(tensor), alpha=0.2)
    expected = theirs.state_dict()
    state = {mmpretrain_name(k): v for k, v in ours.state_dict().items()}
    theirs.load_state_dict({k: v.view_as(expected[k]) for k, v in state.items()})
    theirs.eval()  # returns None
    x = torch.randn(2, 3, 65, 96)
    for a, b in zip(ours.eval()(x), theirs(x), strict=True):
        assert a.std() > 0.01
        assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('se', 5_483_032),
        ('tanh', 5_483_032),
        ('identity', 5_483_032),
        ('seln', 5_491_144),
        ('none', 3_970_752),
        ('grn', 3_978_864),
        ('eca', 3_970_786),
    ],
)
def test_parameters_of_tables_6_and_7(name, expected):
    with torch.device('meta'):
        model = AttentionMobileNetV3(attention_cfg=ATTENTIONS[name])
    assert sum(p.numel() for p in model.parameters()) + HEAD == expected


def test_attention_stands_where_se_does():
    with torch.device('meta'):
        model = AttentionMobileNetV3(attention_cfg=ATTENTIONS['seln'])
    assert [i for i, b in enumerate(blocks(model)) if b.attention is not None] == [
        *(3, 4, 5),
        *(10, 11, 12, 13, 14),
    ]


def test_attention_sees_the_activated_depthwise_output():
    model = AttentionMobileNetV3(width_mult=0.25).eval()
    block = blocks(model)[3]
    x = torch.randn(2, 8, 8, 8)
    expected = block.project(block.attention(block.depthwise(block.expand(x))))
    assert not block.has_shortcut
    assert_close(block(x), expected)
    assert isinstance(block.depthwise[2], torch.nn.ReLU)


@pytest.mark.parametrize('name', ATTENTIONS)
def test_every_attention_trains(name):
    model = AttentionMobileNetV3(
        width_mult=0.25, attention_cfg=ATTENTIONS[name], drop_path_rate=0.2
    ).train()
    model.init_weights()
    (out,) = model(torch.randn(4, 3, 64, 64))
    (out * torch.randn_like(out)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_drop_rates_are_timms():
    """Rate i / 16 of the whole for block i of 15; there is nothing to drop without a shortcut."""
    model = AttentionMobileNetV3(width_mult=0.25, drop_path_rate=0.2)
    expected = [0.2 * i / 16 if b.has_shortcut else 0.0 for i, b in enumerate(blocks(model))]
    rates = [getattr(b.drop_path, 'rate', 0.0) for b in blocks(model)]
    assert rates == pytest.approx(expected)
    assert max(rates) == pytest.approx(0.175)
    part = AttentionMobileNetV3(width_mult=0.25, drop_path_rate=0.2, out_indices=1)
    assert [getattr(b.drop_path, 'rate', 0.0) for b in blocks(part)] == pytest.approx(rates[:6])


def test_init_is_truncated_normal():
    model = AttentionMobileNetV3(attention_cfg=ATTENTIONS['eca'])
    model.init_weights()
    assert model.stages[3][3][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (model.stages[3][3][1].weight == 1).all()


def test_norm_eval_keeps_the_statistics():
    model = AttentionMobileNetV3(width_mult=0.25, norm_eval=True).train()
    before = model.stem[1].running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert model.training
    assert torch.equal(model.stem[1].running_mean, before)


@pytest.mark.parametrize(
    ('kwargs', 'text'),
    [
        (dict(arch='small'), "arch='small'.*large"),
        (dict(width_mult=0), 'width_mult=0'),
        (dict(norm_cfg=dict(type='GN')), "'BN' or 'SyncBN'"),
        (dict(norm_cfg=dict(type='BN', epsilon=1)), 'eps and momentum'),
        (dict(out_indices=4), r'-4\.\.3'),
        (dict(frozen_stages=5), r'0\.\.4'),
        (dict(drop_path_rate=8), 'drop path rate'),
    ],
)
def test_wrong_arguments_name_the_choices(kwargs, text):
    with pytest.raises(ValueError, match=text):
        AttentionMobileNetV3(**kwargs)
