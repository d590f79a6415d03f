"""The blocks of Table 9: counts, ConvNeXt and V2 as special cases, the order of the parts."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.analysis.complexity import build_model
from selnext_mm.config.load import load_config
from selnext_mm.models.backbones import SELNeXt
from tests.oracles.attention import se
from tests.oracles.selnext import layer_norm

LN = dict(type='LN2d', eps=1e-6)
TINY = dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40))


def randomized(model, std=0.2):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('baseline', 28_589_128),
        ('grn', 28_635_496),
        ('se', 35_086_912),
        ('seln', 35_139_904),
        ('se_noln', 35_073_664),
        ('seln_noln', 35_126_656),
    ],
)
def test_parameters_of_table_9(name, expected):
    cfg = load_config(f'cls/ablation/convnext_t_{name}_in1k.py')
    with torch.device('meta'):
        model = build_model(cfg).eval()
    assert sum(p.numel() for p in model.parameters()) == expected


def test_seln_without_norm_is_selnext():
    a = load_config('cls/ablation/convnext_t_seln_noln_in1k.py').model
    b = load_config('cls/selnext_t_in1k.py').model
    extra = {k: a.backbone.pop(k) for k in ('attention_cfg', 'block_norm_cfg')}
    assert a == b
    assert extra == dict(attention_cfg=dict(type='SELN', reduction=16), block_norm_cfg=None)


@pytest.mark.parametrize('linear_pw_conv', [True, False])
@pytest.mark.parametrize('grn', [False, True])
def test_without_attention_it_is_mmpretrains_convnext(linear_pw_conv, grn):
    pytest.importorskip('mmpretrain.models')
    common = dict(
        arch=TINY,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        layer_scale_init_value=0.0 if grn else 1e-6,
        linear_pw_conv=linear_pw_conv,
    )
    theirs = MODELS.build(dict(type='mmpretrain.ConvNeXt', use_grn=grn, **common))
    attention = dict(type='GlobalResponseNorm') if grn else None
    ours = randomized(SELNeXt(attention_cfg=attention, block_norm_cfg=LN, **common))
    state = {k.replace('attention.', 'grn.'): v for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    theirs.eval()  # returns None
    x = torch.randn(2, 3, 65, 96)
    for a, b in zip(ours.eval()(x), theirs(x), strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('norm', [None, LN])
def test_block_equals_the_equations(norm):
    attention = dict(type='SqueezeExcitation', reduction=4, gate='sigmoid')
    model = SELNeXt(
        dict(depths=(1,), channels=(8,)), attention_cfg=attention, block_norm_cfg=norm
    ).double()
    block = randomized(model, 0.4).stages[0][0]
    p = dict(block.named_parameters())
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)

    y = torch.conv2d(x, p['depthwise_conv.weight'], p['depthwise_conv.bias'], padding=3, groups=8)
    if norm:
        y = layer_norm(y, p['norm.weight'], p['norm.bias'], 1e-6, 1)
    y = y.permute(0, 2, 3, 1) @ p['pointwise_conv1.weight'].T + p['pointwise_conv1.bias']
    y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
    fc = [p[f'attention.fc{i}.{n}'] for i in (1, 2) for n in ('weight', 'bias')]
    y = se(y, *fc, 'sigmoid') @ p['pointwise_conv2.weight'].T + p['pointwise_conv2.bias']
    assert_close(block(x), x + (p['gamma'] * y).permute(0, 3, 1, 2), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('norm', [None, LN])
@pytest.mark.parametrize(
    'attention',
    [
        None,
        dict(type='SqueezeExcitation'),
        dict(type='SELN'),
        dict(type='GlobalResponseNorm'),
        dict(type='EfficientChannelAttention'),
    ],
)
def test_every_combination_trains(norm, attention):
    model = SELNeXt(
        TINY, attention_cfg=attention, block_norm_cfg=norm, layer_scale_init_value=0.5
    ).train()
    model.init_weights()
    (out,) = model(torch.randn(2, 3, 64, 64))
    (out * torch.randn_like(out)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert any('.norm.' in n and 'attention' not in n for n, _ in model.named_parameters()) == bool(
        norm
    )
