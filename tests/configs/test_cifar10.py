"""The small comparison: each ablation of the papers differs from its baseline in one thing."""

import pytest
import torch

from selnext_mm.analysis.complexity import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves

SELN_GATES = 'SqueezeExcitation'
CHANNEL, SELF, SPATIAL = (f'Partial{k}Attention' for k in ('Channel', 'Self', 'Spatial'))
# leaf -> (baseline, what differs in its backbone, parameters more than the baseline)
VARIANTS = {
    # Table 9: GRN has a scale and a shift for each of the 4C channels, and no layer scale (C).
    'convnext_atto_grn': (
        'convnext_atto',
        dict(attention_cfg=dict(type='GlobalResponseNorm'), layer_scale_init_value=0.0),
        (2 * 4 - 1) * (2 * 40 + 2 * 80 + 6 * 160 + 2 * 320),
    ),
    # Tables 6 and 7, in SE's places.
    **{
        f'mobilenet_v3_l_{gate}': (
            'mobilenet_v3_l_se',
            dict(attention_cfg=dict(type=SELN_GATES, reduction=4, divisor=8, gate=gate)),
            0,
        )
        for gate in ('tanh', 'identity')
    },
    'mobilenet_v3_l_grn': (
        'mobilenet_v3_l_none',
        dict(attention_cfg=dict(type='GlobalResponseNorm')),
        2 * (40 + 64 + 64 + 240 + 336 + 336 + 480 + 480),
    ),
    'mobilenet_v3_l_eca': (
        'mobilenet_v3_l_none',
        dict(attention_cfg=dict(type='EfficientChannelAttention')),
        3 * 3 + 5 * 5,  # kernels of 40, 64, 64, 240, 336, 336, 480, 480 channels
    ),
    # Two scalars in each of 8 blocks; the embeddings add 40 to each.
    'na_resnet18_mean': (
        'na_resnet18',
        dict(attention_cfg=dict(type='NAModule', context='mean')),
        0,
    ),
    'na_resnet18_embedding': (
        'na_resnet18',
        dict(attention_cfg=dict(type='NAModule', embedding=True)),
        8 * 40,
    ),
    **{
        f'patnet_t0_{name}': ('patnet_t0', changes, None)
        for name, changes in {
            'conv_only': dict(
                mixer_cfg=dict(type='PartialConv'), last_mixer_cfg=None, spatial_cfg=None
            ),
            'ch': dict(last_mixer_cfg=None, spatial_cfg=None),
            'ch_sp': dict(last_mixer_cfg=None),
            'depths_1282': dict(arch=dict(depths=(1, 2, 8, 2), channels=(32, 64, 128, 256))),
            'full_ch': dict(mixer_cfg=dict(type=CHANNEL, scope='all')),
            'full_sp': dict(spatial_cfg=dict(type=SPATIAL, scope='all')),
            'full_sf': dict(last_mixer_cfg=dict(type=SELF, scope='all', num_heads=8)),
            'conv': dict(mixer_cfg=dict(type='PartialConv', ratio=1.0)),
            'dwconv': dict(mixer_cfg=dict(type='PartialConv', ratio=1.0, depthwise=True)),
            'srm': dict(
                mixer_cfg=dict(type=CHANNEL, gate_cfg=dict(type='MeanStdGate', depthwise=True))
            ),
            'se': dict(mixer_cfg=dict(type=CHANNEL, gate_cfg=dict(type='SqueezeExciteGate'))),
        }.items()
    },
}


def load(name):
    return load_config(f'cls/cifar10/{name}_cifar10.py')


def parameters(cfg):
    with torch.device('meta'):
        return sum(p.numel() for p in build_model(cfg).parameters())


@pytest.mark.parametrize('name', VARIANTS)
def test_an_ablation_is_its_baseline_but_for_one_thing(name):
    baseline, changes, more = VARIANTS[name]
    mine, theirs = load(name), load(baseline)
    backbone = dict(theirs.model.backbone, **changes)
    for key, value in backbone.items():
        assert mine.model.backbone[key] == value, key
    assert set(mine.model.backbone) == set(backbone)
    for key in (
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
        'train_dataloader',
        'data_preprocessor',
    ):
        assert mine[key] == theirs[key], key
    for key in ('neck', 'head'):
        assert mine.model[key] == theirs.model[key], key
    if more is not None:
        assert parameters(mine) - parameters(theirs) == more


@pytest.mark.parametrize('name', VARIANTS)
def test_an_ablation_trains_and_every_parameter_gets_a_gradient(name):
    from mmpretrain.structures import DataSample

    model = build_model(load(name)).train()
    model.init_weights()
    samples = [DataSample().set_gt_label(i % 3) for i in range(4)]
    losses = model.loss(torch.randn(4, 3, 64, 64), samples)
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_every_leaf_of_the_folder_has_a_table_to_stand_for(root):
    text = (root / 'configs/cls/README.md').read_text()
    leaves = [leaf for leaf in config_leaves() if leaf.startswith('cls/cifar10/')]
    assert len(leaves) == 32
    for leaf in leaves:
        assert f'({leaf.removeprefix("cls/")})' in text
