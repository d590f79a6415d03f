import re

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.models.backbones.selnext import ARCHS, SELNeXt
from tests.oracles.selnext import layer_norm, stages_official

TINY = dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40))
DETECTION = dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)


def official(state):
    """Our keys in the official names, written down a second time for this test."""
    names = {
        'depthwise_conv': 'dwconv',
        'pointwise_conv1': 'pwconv1',
        'pointwise_conv2': 'pwconv2',
        'attention.fc1': 'norm.conv_reduce',
        'attention.fc2': 'norm.conv_expand',
        'attention.norm': 'norm.gate',
    }
    out = {}
    for key, value in state.items():
        for ours, theirs in names.items():
            key = re.sub(rf'(stages\.\d+\.\d+\.){re.escape(ours)}\.', rf'\g<1>{theirs}.', key)
        out[key] = value
    return out


def randomize(model, std=0.2):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def oracle(model, x):
    state = dict(model.named_parameters())
    outs = stages_official(official(state), x, model.depths)
    return [
        layer_norm(out, state[f'norm{i}.weight'], state[f'norm{i}.bias'], 1e-6, 1)
        for i, out in enumerate(outs)
    ]


@pytest.mark.parametrize('size', [(64, 64), (33, 47), (95, 40)])
@pytest.mark.parametrize('batch', [1, 3])
def test_detection_outputs_equal_the_equations(size, batch):
    model = randomize(SELNeXt(TINY, **DETECTION)).double()
    x = torch.randn(batch, 3, *size, dtype=torch.float64)
    for ours, theirs in zip(model(x), oracle(model, x), strict=True):
        assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_float32_forward_and_gradient_are_within_1e_5():
    # ConvNeXt-like magnitudes; gradients of all parameters as one vector.
    model = SELNeXt(TINY, layer_scale_init_value=1.0, **DETECTION)
    model.init_weights()
    for name, parameter in model.named_parameters():
        if name.endswith('weight') and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    x = torch.randn(2, 3, 33, 47)
    outs = model(x)
    weights = [torch.randn_like(out) for out in outs]
    sum((o * w).sum() for o, w in zip(outs, weights, strict=True)).backward()
    ours = torch.cat([p.grad.flatten() for p in model.parameters()]).double()

    exact = SELNeXt(TINY, layer_scale_init_value=1.0, **DETECTION).double()
    exact.load_state_dict(model.state_dict())
    references = oracle(exact, x.double())
    loss = sum((o * w.double()).sum() for o, w in zip(references, weights, strict=True))
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(exact.parameters()))])
    for out, reference in zip(outs, references, strict=True):
        assert ((out.double() - reference).norm() / reference.norm()) < 1e-5
    assert ((ours - theirs).norm() / theirs.norm()) < 1e-5


def test_classification_output_is_the_norm_of_the_mean():
    model = randomize(SELNeXt(TINY)).double()
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    (feature,) = model(x)
    state = dict(model.named_parameters())
    last = stages_official(official(state), x, model.depths)[-1].mean((2, 3))
    expected = layer_norm(last, state['norm3.weight'], state['norm3.bias'], 1e-6, 1)
    assert_close(feature, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ('out_indices', 'shapes'),
    [
        (-1, [(2, 40)]),
        ((0, 1, 2, 3), [(2, 16, 16, 16), (2, 24, 8, 8), (2, 32, 4, 4), (2, 40, 2, 2)]),
        ((3,), [(2, 40, 2, 2)]),
    ],
)
def test_an_index_gives_a_vector_and_a_sequence_gives_maps(out_indices, shapes):
    outs = SELNeXt(TINY, out_indices=out_indices)(torch.randn(2, 3, 64, 64))
    assert [tuple(out.shape) for out in outs] == shapes


@pytest.mark.parametrize(
    ('arch', 'classifier'), [('tiny', 35126656), ('small', 62140480), ('base', 109715208)]
)
def test_parameters_are_the_published_counts(arch, classifier):
    with torch.device('meta'):
        model = SELNeXt(arch)
    head = model.channels[-1] * 1000 + 1000
    assert sum(p.numel() for p in model.parameters()) + head == classifier


@pytest.mark.parametrize('arch', sorted(ARCHS))
def test_every_arch_builds_and_grows(arch):
    with torch.device('meta'):
        model = SELNeXt(arch, **DETECTION)
    depths, channels = ARCHS[arch]
    assert [len(stage) for stage in model.stages] == list(depths)
    assert [model.get_submodule(f'norm{i}').weight.numel() for i in range(4)] == list(channels)


def test_convolution_form_is_the_same_function():
    linear = randomize(SELNeXt(TINY, **DETECTION)).double()
    convolution = SELNeXt(TINY, linear_pw_conv=False, **DETECTION).double()
    state = {
        k: v[:, :, None, None] if 'pointwise' in k and v.ndim == 2 else v
        for k, v in linear.state_dict().items()
    }
    convolution.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    for a, b in zip(linear(x), convolution(x), strict=True):
        assert_close(a, b)


def test_init_is_truncated_normal_with_zero_biases():
    model = SELNeXt('atto')
    model.init_weights()
    weight = model.stages[2][0].attention.fc1.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    for name, parameter in model.named_parameters():
        if name.endswith('bias'):
            assert parameter.abs().max() == 0, name
        if name.endswith('gamma'):
            assert_close(parameter, torch.full_like(parameter, 1e-6))
        if 'norm' in name and name.endswith('weight'):
            assert (parameter == 1).all(), name


def test_stochastic_depth_rises_linearly_over_all_blocks():
    full = SELNeXt('atto', drop_path_rate=0.4)
    rates = [getattr(b.drop_path, 'rate', 0.0) for s in full.stages for b in s]
    assert rates == pytest.approx([0.4 * i / 11 for i in range(12)])
    # The stages that are not built keep their place in the count.
    part = SELNeXt('atto', drop_path_rate=0.4, out_indices=1)
    assert [getattr(b.drop_path, 'rate', 0.0) for s in part.stages for b in s] == pytest.approx(
        rates[:4]
    )


def test_dropped_branches_keep_the_expectation():
    from selnext_mm.models.backbones.layers import DropPath

    layer = DropPath(0.25)
    y = layer(torch.ones(20000, 1))
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert (layer.eval()(torch.ones(8, 1)) == 1).all()


def test_layer_scale_can_be_left_out():
    assert not any('gamma' in k for k in SELNeXt(TINY, layer_scale_init_value=0).state_dict())


def test_attention_can_be_left_out_or_given():
    assert not any('attention' in k for k in SELNeXt(TINY, attention_cfg=None).state_dict())
    model = SELNeXt(TINY, attention_cfg=dict(type='SELN', reduction=4))
    assert model.stages[0][0].attention.fc1.weight.shape == (16, 64)


@pytest.mark.parametrize(
    ('kwargs', 'error', 'text'),
    [
        (dict(arch='huge'), ValueError, "arch='huge'.*atto.*tiny"),
        (dict(arch=dict(depths=(1, 1))), ValueError, "'depths' and 'channels'"),
        (dict(arch=dict(depths=(1,), channels=(8, 8))), ValueError, 'equal length'),
        (dict(out_indices=4), ValueError, r'-4\.\.3'),
        (dict(out_indices=(1, 1)), ValueError, 'each once'),
        (dict(out_indices=()), ValueError, 'each once'),
        (dict(out_indices=(0, 1.5)), TypeError, 'sequence of ints'),
        (dict(frozen_stages=2, out_indices=0), ValueError, r'0\.\.1'),
        (dict(norm_cfg=dict(type='BN')), ValueError, 'LN2d'),
        (dict(act_cfg=dict(type='Gelu')), ValueError, "'Gelu'"),
        (dict(drop_path_rate=1.0), ValueError, 'drop path rate'),
        (dict(attention_cfg=dict(type='SELN', reduction=999)), ValueError, 'reduction=999'),
    ],
)
def test_wrong_arguments_name_the_choices(kwargs, error, text):
    with pytest.raises(error, match=text):
        SELNeXt(**{'arch': TINY, **kwargs})


def test_layer_depths_are_convnexts():
    for arch, last in (('tiny', 6), ('small', 12)):
        with torch.device('meta'):
            model = SELNeXt(arch, **DETECTION)
        expected = {
            'backbone.downsample_layers.0.0.weight': 0,
            'backbone.stages.0.2.gamma': 1,
            'backbone.downsample_layers.1.1.bias': 2,
            'backbone.stages.1.0.attention.fc1.weight': 2,
            'backbone.downsample_layers.2.0.weight': 3,
            'backbone.stages.2.2.gamma': 3,
            'backbone.stages.2.8.gamma': 5,
            'backbone.downsample_layers.3.0.weight': last,
            'backbone.stages.3.0.gamma': last,
            'backbone.norm0.weight': last + 1,
            'neck.fpn_convs.0.conv.weight': last + 1,
            'rpn_head.rpn_cls.bias': last + 1,
        }
        depths = {n: model.get_layer_depth(n, 'backbone.') for n in expected}
        assert depths == {n: (d, last + 2) for n, d in expected.items()}


def test_it_is_in_the_root_registry():
    model = MODELS.build(dict(type='SELNeXt', arch=TINY))
    assert isinstance(model, SELNeXt)
