"""The PartialNet key map against an independent table of names and a transcribed forward pass."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from selnext_mm.checkpoints.keymaps.sources import convert_keys
from selnext_mm.cli.convert import describe
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.patnet import PATNet
from selnext_mm.models.necks import PooledProjection
from tests.oracles.partialnet_names import T2, TOY, official_table, official_weights
from tests.oracles.patnet import forward_official, stages_official

WIDTHS = tuple(TOY[1] * 2**i for i in range(4))
SHALLOW = ((1, 2, 1, 1), *TOY[1:])  # a stage of one block, and of several
ARCH = dict(depths=TOY[0], channels=WIDTHS)


def part(state, prefix):
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@pytest.fixture(scope='module')
def weights():
    return official_weights(*TOY)


@pytest.fixture
def official(weights):
    return dict(weights)


def test_the_oracle_table_of_t2_has_the_published_counts():
    table = official_table(*T2)
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    counts = {k: torch.Size(s).numel() for k, s in table.items() if not k.endswith(statistics)}

    def total(*prefixes):
        return sum(n for k, n in counts.items() if k.startswith(prefixes))

    assert sum(counts.values()) == 12_651_072
    assert total('patch_embed.') == 3_200
    assert [total(f'stages.{i}.') for i in (1, 3, 5)] == [33_024, 131_584, 525_312]
    assert [total(f'stages.{i}.') for i in (0, 2, 4, 6)] == [49_856, 196_992, 2_349_312, 7_425_432]
    assert total('avgpool_pre_head.', 'head.') == 1_936_360


def test_classifier_equals_the_published_forward(official):
    mapping = convert_keys(official, 'partialnet', 'classifier')
    assert len(mapping.state) == len(official)
    assert not mapping.dropped
    assert not mapping.at_init
    assert describe(mapping.arch) == ('arch=dict(depths=[1, 2, 3, 2], channels=[16, 32, 64, 128])')
    backbone, neck = PATNet(ARCH).eval(), PooledProjection(128)
    backbone.load_state_dict(part(mapping.state, 'backbone.'), strict=True)
    neck.load_state_dict(part(mapping.state, 'neck.'), strict=True)
    image = torch.randn(2, 3, 64, 96)
    fc = part(mapping.state, 'head.fc.')
    logits = F.linear(neck(backbone(image))[0], fc['weight'], fc['bias'])
    expected = forward_official(official, image, TOY[0], TOY[2], 'ReLU')
    assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_detection_equals_the_published_stages(official):
    mapping = convert_keys(official, 'partialnet', 'detection')
    assert set(mapping.dropped) == {'avgpool_pre_head.1.weight', 'head.weight', 'head.bias'}
    assert list(mapping.at_init) == ['backbone.norm{0..3}.*']
    model = PATNet(ARCH, out_indices=(0, 1, 2, 3)).eval()
    lost = model.load_state_dict(part(mapping.state, 'backbone.'), strict=False)
    assert not lost.unexpected_keys
    assert {k.split('.')[0] for k in lost.missing_keys} == {f'norm{i}' for i in range(4)}
    model.output_norm = False
    image = torch.randn(1, 3, 64, 64)
    expected = stages_official(official, image, TOY[0], TOY[2], 'ReLU')
    for out, reference in zip(model(image), expected, strict=True):
        assert_close(out, reference, rtol=1e-4, atol=1e-4)


def test_t2_is_named_and_fits_key_by_key():
    state = {k: torch.empty(s, device='meta') for k, s in official_table(*T2).items()}
    mapping = convert_keys(state, 'partialnet')
    assert describe(mapping.arch).startswith("arch='t2' (")
    assert 'heads' not in describe(mapping.arch)
    with torch.device('meta'):
        model = PATNet('t2').state_dict()
    shapes = {k: tuple(v.shape) for k, v in part(mapping.state, 'backbone.').items()}
    assert shapes == {k: tuple(v.shape) for k, v in model.items()}


def test_other_heads_and_a_model_without_pat_sp_are_told():
    state = official_weights(TOY[0], TOY[1], 4)
    state = {k: v for k, v in state.items() if '.mlp.4.' not in k}
    arch = convert_keys(state, 'partialnet').arch
    assert describe(arch).endswith('num_heads=4, spatial_cfg=None')
    kwargs = dict(num_heads=4, spatial_cfg=None)
    mapped = part(convert_keys(state, 'partialnet').state, 'backbone.')
    PATNet(ARCH, **kwargs).load_state_dict(mapped, strict=True)


def test_a_published_detection_backbone_keeps_its_output_norms(official):
    state = {k: v for k, v in official.items() if not k.startswith(('head', 'avgpool'))}
    for i, width in enumerate(WIDTHS):
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'norm{2 * i}.{name}'] = torch.rand(width)
        state[f'norm{2 * i}.num_batches_tracked'] = torch.tensor(3)
    mapping = convert_keys(state, 'partialnet', 'detection')
    assert not mapping.at_init
    assert not mapping.dropped
    model = PATNet(ARCH, out_indices=(0, 1, 2, 3))
    model.load_state_dict(part(mapping.state, 'backbone.'), strict=True)
    assert torch.equal(model.norm2.weight, state['norm4.weight'])


@pytest.mark.parametrize('key', list(official_table(*SHALLOW)))
def test_every_missing_key_is_named_but_the_counters(key):
    state = {k: torch.empty(s, device='meta') for k, s in official_table(*SHALLOW).items()}
    del state[key]
    if key.endswith('num_batches_tracked'):
        assert len(convert_keys(state, 'partialnet').state) == len(state)
    else:
        with pytest.raises(UserError, match='missing'):
            convert_keys(state, 'partialnet')


def test_a_wrong_shape_and_an_unknown_key_are_told(official):
    official['stages.6.blocks.0.mlp.3.weight'] = torch.zeros(128, 255, 1, 1)
    message = r'backbone\.stages\.3\.0\.reduce\.weight is \(128, 255, 1, 1\), expected \(128, 256'
    with pytest.raises(UserError, match=message):
        convert_keys(official, 'partialnet')
    official['stages.6.blocks.0.layer_scale'] = torch.zeros(128)
    with pytest.raises(UserError, match='layer_scale; check --from'):
        convert_keys(official, 'partialnet')
