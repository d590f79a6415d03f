"""SELNeXt in 1x1 convolutions, the form that is written for onnxruntime and OpenVINO."""

import copy

import pytest
import torch
from torch import nn

from selnext_mm.models.backbones import SELNeXt
from selnext_mm.models.backbones.selnext_graph import GatedProduct

ARCH = dict(depths=(1, 1, 2, 1), channels=(8, 16, 200, 64))
NORM = dict(type='LN2d', eps=1e-6)


def selnext(**options):
    torch.manual_seed(0)
    model = SELNeXt(ARCH, out_indices=(0, 1, 2, 3), layer_scale_init_value=1.0, **options)
    model.init_weights()
    for name, value in model.named_parameters():
        if name.endswith('bias'):
            nn.init.normal_(value)
    return model.double().eval()


@pytest.mark.parametrize('scale_weights', [False, True])
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(linear_pw_conv=False),
        dict(block_norm_cfg=NORM),
        dict(attention_cfg=dict(type='SqueezeExcitation')),
        dict(attention_cfg=dict(type='GlobalResponseNorm')),
        dict(attention_cfg=dict(type='CBAM')),
        dict(attention_cfg=None, block_norm_cfg=NORM),
    ],
    ids=lambda options: '-'.join(map(str, options)) or 'default',
)
@torch.no_grad()
def test_the_same_function(options, scale_weights):
    model = selnext(**options)
    rewritten = copy.deepcopy(model)
    gated = options.get('attention_cfg', True) is not None
    assert rewritten.use_convolutions(scale_weights) == (5 if gated else 0)
    assert rewritten.stages[0][0].linear_pw_conv is not gated
    x = torch.randn(2, 3, 96, 64, dtype=torch.double)
    for new, old in zip(rewritten(x), model(x), strict=True):
        assert old.abs().max() > 0.1, 'outputs near zero show nothing'
        torch.testing.assert_close(new, old, rtol=1e-10, atol=1e-10)


def test_weights_are_scaled_where_maps_are_large():
    """A classifier's maps have 3136, 784, 196 and 49 positions, a detector's 12.8 times these."""
    for classifier, wanted in [(True, [True, True, False, False]), (False, [True] * 4)]:
        model = selnext(gap_before_final_norm=classifier)
        model.use_convolutions(scale_weights=True)
        kinds = [isinstance(stage[0].pointwise_conv2, GatedProduct) for stage in model.stages]
        assert kinds == wanted
    model.use_convolutions(scale_weights=True)
    assert not isinstance(model.stages[0][0].pointwise_conv2.layer, GatedProduct), 'nothing twice'


def test_modified_blocks_are_left_alone():
    model = selnext()
    model.stages[0][0].act.register_forward_hook(lambda *args: None)
    model.stages[1][0].pointwise_conv1 = nn.Sequential(model.stages[1][0].pointwise_conv1)
    assert model.use_convolutions() == 3
    assert [stage[0].linear_pw_conv for stage in model.stages] == [True, True, False, False]
