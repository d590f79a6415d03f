"""ConvNeXt weights of timm and of Meta (DINOv3's as well), held against timm's own model."""

import re

import pytest
import torch
from torch import nn

from selnext_mm.checkpoints.keymaps.sources import convert_keys
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.selnext import SELNeXt

timm_convnext = pytest.importorskip(
    'timm.models.convnext', reason='pip install "selnext_mm[timm]" to run this'
)
DEPTHS, WIDTHS = (1, 2, 3, 1), (8, 16, 24, 32)


@pytest.fixture(params=[True, False], ids=['convolutions', 'linear'])
def peer(request):
    torch.manual_seed(0)
    model = timm_convnext.ConvNeXt(
        depths=DEPTHS, dims=WIDTHS, num_classes=10, conv_mlp=request.param
    )
    for value in model.parameters():
        nn.init.normal_(value, std=0.3)
    return model.eval()


def meta_names(state):
    """timm's names as Meta's files have them; timm's own reader is asked whether they are right."""
    table = (
        (r'^stem\.', 'downsample_layers.0.'),
        (r'^stages\.(\d)\.downsample\.', r'downsample_layers.\1.'),
        (r'^(stages\.\d)\.blocks', r'\1'),
        (r'conv_dw', 'dwconv'),
        (r'mlp\.fc', 'pwconv'),
        (r'^head\.norm', 'norm'),
        (r'^head\.fc', 'head'),
    )
    renamed = {}
    for key, value in state.items():
        for pattern, name in table:
            key = re.sub(pattern, name, key)
        linear = 'pwconv' in key and key.endswith('weight')
        renamed[key] = value.flatten(1) if linear else value
    return renamed


def transformers_names(state):
    """Meta's names as transformers 5 has them for DINOv3."""
    table = (
        (r'^downsample_layers\.(\d)\.', r'stages.\1.downsample_layers.'),
        (r'^(stages\.\d)\.(\d+)\.', r'\1.layers.\2.'),
        (r'dwconv', 'depthwise_conv'),
        (r'pwconv', 'pointwise_conv'),
        (r'(^|\.)norm\.', r'\1layer_norm.'),
    )
    renamed = {}
    for key, value in state.items():
        for pattern, name in table:
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return renamed


def ours(mapped):
    """A SELNeXt without gates, as the peer is without its block norms."""
    model = SELNeXt(arch={'depths': DEPTHS, 'channels': WIDTHS}, attention_cfg=None).eval()
    state = {k.removeprefix('backbone.'): v for k, v in mapped.items() if 'head' not in k}
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize('prefix', ['', 'model.'])
def test_dinov3_of_transformers_is_that_of_meta(peer, prefix):
    state = {k: v for k, v in meta_names(peer.state_dict()).items() if not k.startswith('head')}
    named = {prefix + k: v for k, v in transformers_names(state).items()}
    assert f'{prefix}stages.0.layers.0.layer_norm.weight' in named
    assert f'{prefix}layer_norm.weight' in named
    assert not named.keys() & state.keys()
    for target in ('classifier', 'detection'):
        theirs, wanted = (convert_keys(s, 'dinov3-convnext', target) for s in (named, state))
        assert theirs.state.keys() == wanted.state.keys()
        assert all(torch.equal(theirs.state[k], v) for k, v in wanted.state.items())
        assert theirs.at_init == wanted.at_init
        assert len(theirs.dropped) == len(wanted.dropped)


@pytest.mark.parametrize('source', ['timm-convnext', 'dinov3-convnext'])
def test_what_both_have_computes_the_same(peer, source):
    state = peer.state_dict()
    if source == 'dinov3-convnext':
        meta = meta_names(state)
        read = timm_convnext.checkpoint_filter_fn(meta, peer)
        assert all(torch.equal(read[key], state[key]) for key in state)
        state = meta
    mapping = convert_keys(state, source)
    assert len(mapping.dropped) == 2 * sum(DEPTHS)
    assert list(mapping.at_init) == ['backbone.stages.*.*.attention.*']
    for stage in peer.stages:
        for block in stage.blocks:
            block.norm = nn.Identity()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        wanted = peer.head.norm(peer.forward_features(image).mean((2, 3), keepdim=True)).flatten(1)
        (found,) = ours(mapping.state)(image)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(mapping.state['head.fc.weight'], peer.head.fc.weight)


def test_dinov3_has_its_final_norm_twice_and_no_head(peer):
    state = {k: v for k, v in meta_names(peer.state_dict()).items() if not k.startswith('head')}
    state |= {f'norms.3.{part}': state[f'norm.{part}'] for part in ('weight', 'bias')}
    mapping = convert_keys(state, 'dinov3-convnext')
    assert mapping.dropped['norms.3.weight'] == 'the final norm a second time'
    assert 'head.fc.{weight,bias}' in mapping.at_init
    ours(mapping.state)
    for_detection = convert_keys(state, 'dinov3-convnext', 'detection')
    assert not any('norm3' in key or 'head' in key for key in for_detection.state)
    assert 'backbone.norm{0..3}.{weight,bias}' in for_detection.at_init


@pytest.mark.parametrize('source', ['timm-convnext', 'dinov3-convnext'])
def test_a_convnext_of_version_2_is_not_taken_for_one(source):
    model = timm_convnext.ConvNeXt(depths=DEPTHS, dims=WIDTHS, use_grn=True, ls_init_value=None)
    with pytest.raises(UserError, match=r'not from this source: .*; check --from'):
        convert_keys(model.state_dict(), source)
