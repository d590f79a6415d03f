"""PATNet against its formulas and the printed counts; deployment; one image per device."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.testing import assert_close

from selnext_mm.models.backbones.patnet import ARCHS, PATNet
from selnext_mm.models.necks import PooledProjection
from tests.oracles.partialnet_names import TOY, official_table, official_weights
from tests.oracles.patnet import batch_norm, stages_official

SMALL = dict(arch=dict(depths=TOY[0], channels=[TOY[1] * 2**i for i in range(4)]))
CHANNEL, SELF, SPATIAL = (f'Partial{k}Attention' for k in ('Channel', 'Self', 'Spatial'))
# Table 6, depths and width of the first stage
TABLE_6 = {
    't0': ((1, 2, 6, 4), 32, 'GELU', 4_292_072, 4_286_992),
    't1': ((2, 2, 6, 4), 48, 'GELU', 7_808_112, 7_800_360),
    't2': ((2, 2, 6, 4), 64, 'ReLU', 12_651_072, 12_640_736),
    's': ((2, 2, 9, 4), 96, 'ReLU', 28_976_352, 28_957_680),
    'm': ((2, 3, 16, 4), 128, 'ReLU', 61_367_424, 61_331_968),
    'l': ((2, 3, 20, 4), 160, 'ReLU', 104_465_984, 104_414_624),
}
NAMES = (
    ('partial_conv3', 'conv'),
    ('attn.cfc1', 'gate.fc'),
    ('attn.bn', 'gate.norm'),
    ('attn.qkv', 'qkv'),
    ('attn.proj', 'proj'),
    ('attn.rpe_k.lookup_table_bias', 'position.table'),
    ('mlp.0', 'expand'),
    ('mlp.1', 'norm'),
    ('mlp.3', 'reduce'),
    ('mlp.4.conv_attn', 'spatial.gate'),
    ('mlp.4.conv', 'spatial.conv'),
    ('mlp.4.norm2', 'spatial.conv_norm'),
    ('mlp.4.norm', 'spatial.gate_norm'),
)


def ours(name):
    """Our name of a published one, written down a second time for this test."""
    for theirs, replacement in NAMES:
        part = f'.{theirs}' if theirs.endswith('table_bias') else f'.{theirs}.'
        if part in name:
            name = name.replace(part, part.replace(theirs, replacement))
            break
    name = name.replace('spatial_mixing', 'mixer').replace('.blocks.', '.')
    parts = name.split('.')
    if parts[0] == 'patch_embed':
        layer = '1' if parts[1] == 'norm' else '0'
        return f'downsample_layers.0.{layer}.{parts[2]}'
    stage = int(parts[1])
    if stage % 2:
        layer = '1' if parts[2] == 'norm' else '0'
        return f'downsample_layers.{(stage + 1) // 2}.{layer}.{parts[3]}'
    return '.'.join(('stages', str(stage // 2), *parts[2:]))


def official_model(**kwargs):
    """A small detection backbone with random weights and statistics, and the published state."""
    state = {k: v.double() if v.ndim else v for k, v in official_weights(*TOY).items()}
    model = PATNet(**SMALL, out_indices=(0, 1, 2, 3), **kwargs).double()
    backbone = {ours(k): v for k, v in state.items() if not k.startswith(('head', 'avgpool'))}
    missing, unexpected = model.load_state_dict(backbone, strict=False)
    assert not unexpected
    assert {k.split('.')[0] for k in missing} == {f'norm{i}' for i in range(4)}
    randomize(model, only='norm')
    return model.eval(), state


def randomize(model, only=''):
    for name, tensor in model.state_dict().items():
        if not name.startswith(only) or not tensor.is_floating_point():
            continue
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1 and name.endswith('weight'):
            tensor.normal_(1, 0.2)
        elif tensor.ndim > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        else:
            tensor.normal_(std=0.2)
    return model


def classifier_params(arch, fold=None, **kwargs):
    model = PATNet(arch, **kwargs)
    if fold:
        model.switch_to_deploy(fold)
    width = model.channels[-1]
    return sum(p.numel() for p in model.parameters()) + 1280 * width + 1281 * 1000


def classifier_params_on_meta(arch, **kwargs):
    with torch.device('meta'):
        return classifier_params(arch, **kwargs)


@pytest.mark.parametrize('size', [(64, 64), (33, 47), (96, 160)])
@pytest.mark.parametrize('act', ['ReLU', 'GELU'])
def test_detection_outputs_equal_the_formulas(size, act):
    model, state = official_model(act_cfg=dict(type=act))
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    references = stages_official(state, x, TOY[0], TOY[2], act)
    for i, (out, reference) in enumerate(zip(model(x), references, strict=True)):
        expected = batch_norm(reference, own.__getitem__, f'norm{i}')
        assert_close(out, expected, rtol=1e-9, atol=1e-9)


def test_training_equals_the_formulas_with_batch_statistics():
    model, state = official_model(last_mixer_cfg=dict(type=SELF, attn_drop=0, proj_drop=0))
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    references = stages_official(state, x, TOY[0], TOY[2], 'ReLU', training=True)
    model.train()
    model.output_norm = False
    for out, reference in zip(model(x), references, strict=True):
        assert_close(out, reference, rtol=1e-8, atol=1e-8)


def test_classification_returns_the_last_map_as_it_is():
    model = randomize(PATNet(**SMALL)).eval()
    detector = PATNet(**SMALL, out_indices=(2, 3)).eval()
    detector.load_state_dict(model.state_dict(), strict=False)
    detector.norm3 = nn.Identity()
    x = torch.randn(1, 3, 64, 64)
    (out,) = model(x)
    assert out.shape == (1, 128, 2, 2)
    assert_close(out, detector(x)[1])
    assert not any(k.startswith('norm') for k in model.state_dict())


def test_neck_is_the_pooled_projection():
    neck = PooledProjection(8, 12, act_cfg=dict(type='GELU'))
    x = torch.randn(2, 8, 3, 5)
    (y,) = neck((torch.zeros(1), x))
    z = x.mean((2, 3)) @ neck.conv.weight[:, :, 0, 0].T
    assert_close(y, 0.5 * z * (1 + torch.erf(z / 2**0.5)))
    neck.init_weights()
    assert neck.conv.weight.abs().max() < 0.1


@pytest.mark.parametrize('arch', list(TABLE_6))
def test_archs_are_table_6(arch):
    depths, width, act, params, _ = TABLE_6[arch]
    settings = ARCHS[arch]
    assert settings.depths == depths
    assert settings.channels == tuple(width * 2**i for i in range(4))
    assert settings.act == act
    assert settings.num_heads == (4 if arch == 't0' else 6)
    assert classifier_params_on_meta(arch) == params


@pytest.mark.parametrize('arch', list(TABLE_6))
def test_merged_parameters_print_as_the_papers(arch):
    merged = classifier_params(arch, 'conv_bn')
    assert merged == TABLE_6[arch][4]
    printed = dict(t0=4.3, t1=7.8, t2=12.6, s=29.0, m=61.3, l=104.4)[arch]
    assert round(merged / 1e6, 1) == printed


@pytest.mark.parametrize('arch', ['t1', 't2', 's', 'm', 'l'])
def test_the_counts_do_not_tell_4_heads_from_6(arch, root):
    """A bias per head and bucket, in the 4 blocks of stage 4; the page says what was chosen."""
    raw, merged = TABLE_6[arch][3:]
    four = classifier_params_on_meta(arch, num_heads=4)
    assert raw - four == 4 * 2 * 81
    printed = dict(t1=7.8, t2=12.6, s=29.0, m=61.3, l=104.4)[arch]
    assert round(merged / 1e6, 1) == round((merged - 648) / 1e6, 1) == printed
    assert f'{four:,}' in (root / 'docs/patnet.md').read_text()


WIDE = dict(depths=(2, 2, 8, 2), channels=(64, 128, 256, 512))
VARIANTS = {
    'Table 4, no attention': (
        9_410_408,
        dict(mixer_cfg=dict(type='PartialConv'), last_mixer_cfg=None, spatial_cfg=None),
    ),
    'Table 4, PAT_ch': (11_090_408, dict(last_mixer_cfg=None, spatial_cfg=None)),
    'Table 4, PAT_ch and PAT_sp': (11_471_016, dict(last_mixer_cfg=None)),
    'Table 4, 2-2-8-2': (9_721_460, dict(arch=WIDE)),
    'Table 3, F P P': (13_032_896, dict(mixer_cfg=dict(type=CHANNEL, scope='all'))),
    # The counts of the next row are ours: no other source has them.
    'Table 3, P F P': (12_657_024, dict(spatial_cfg=dict(type=SPATIAL, scope='all'))),
    'Table 3, P P F': (
        14_488_264,
        dict(last_mixer_cfg=dict(type=SELF, scope='all', num_heads=8)),
    ),
    'Table 10, SRM': (
        12_165_504,
        dict(mixer_cfg=dict(type=CHANNEL, gate_cfg=dict(type='MeanStdGate', depthwise=True))),
    ),
    'Table 10, SE-NET': (
        12_283_656,
        dict(mixer_cfg=dict(type=CHANNEL, gate_cfg=dict(type='SqueezeExciteGate'))),
    ),
    'Table 5, Conv': (15_820_224, dict(mixer_cfg=dict(type='PartialConv', ratio=1.0))),
}


@pytest.mark.parametrize('row', list(VARIANTS))
def test_variants_of_the_ablation_tables_have_their_counts(row):
    params, kwargs = VARIANTS[row]
    assert classifier_params_on_meta(**{'arch': 't2', **kwargs}) == params


@pytest.mark.parametrize('row', list(VARIANTS))
def test_variants_run_and_deploy(row):
    kwargs = {k: v for k, v in VARIANTS[row][1].items() if k != 'arch'}
    model = randomize(PATNet(**SMALL, **kwargs)).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    (before,) = model(x)
    (after,) = model.switch_to_deploy()(x)
    assert ((after - before).norm() / before.norm()) <= 1e-6


def test_the_toy_names_are_the_model():
    table = official_table(*TOY)
    backbone = {ours(k): s for k, s in table.items() if not k.startswith(('head', 'avgpool'))}
    assert backbone == {k: tuple(v.shape) for k, v in PATNet(**SMALL).state_dict().items()}


@pytest.mark.parametrize('fold', ['all', 'conv_bn'])
@pytest.mark.parametrize('arch', list(TABLE_6))
def test_deployed_model_is_the_same_function(arch, fold):
    model = randomize(PATNet(arch, out_indices=(0, 1, 2, 3))).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    before = model(x)
    after = model.switch_to_deploy(fold)(x)
    in_float32 = model.float()(x.float())
    for reference, out, rounded in zip(before, after, in_float32, strict=True):
        assert ((out - reference).norm() / reference.norm()) <= 1e-6
        assert ((rounded.double() - reference).norm() / reference.norm()) <= 1e-4
    if fold == 'all':
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(norms) == 4  # those of the outputs


def test_a_single_precision_model_deploys_within_1e_4():
    model = randomize(PATNet('t2', out_indices=(0, 1, 2, 3))).eval()
    x = torch.randn(1, 3, 96, 64)
    before = model(x)
    for a, b in zip(model.switch_to_deploy()(x), before, strict=True):
        assert ((a - b).norm() / b.norm()) <= 1e-4


def test_a_deployed_model_refuses_training():
    model = PATNet(**SMALL).switch_to_deploy()
    assert not model.training
    assert model.eval() is model
    assert model.switch_to_deploy() is model
    with pytest.raises(RuntimeError, match='cannot be trained'):
        model.train()
    detector = nn.Sequential(model)
    with pytest.raises(RuntimeError, match='deployed'):
        detector.train()
    with pytest.raises(ValueError, match="'conv_bn'"):
        PATNet(**SMALL).switch_to_deploy('everything')


def test_deploying_uses_the_running_statistics_also_from_training_mode():
    trained = randomize(PATNet(**SMALL)).eval()
    x = torch.randn(1, 3, 64, 64)
    (before,) = trained(x)
    (after,) = trained.train().switch_to_deploy()(x)
    assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert not after.requires_grad


@pytest.mark.parametrize('remedy', ['gate_norm_eval', 'norm_eval'])
def test_a_training_step_with_one_image(remedy):
    model = PATNet(**SMALL, out_indices=(0, 1, 2, 3), **{remedy: True})
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    gate = model.stages[1][0].mixer.gate
    statistics = gate.norm.running_mean.clone()
    before = gate.norm.weight.clone()
    outs = model.train()(torch.randn(1, 3, 64, 96))
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    optimizer.step()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert torch.equal(gate.norm.running_mean, statistics)
    assert not torch.equal(gate.norm.weight, before)
    stem = model.downsample_layers[0][1]
    assert stem.training == (remedy == 'gate_norm_eval')


def test_without_the_remedy_one_image_is_refused_and_two_are_not():
    model = PATNet(**SMALL).train()
    with pytest.raises(ValueError, match='gate_norm_eval'):
        model(torch.randn(1, 3, 64, 64))
    model(torch.randn(2, 3, 64, 64))[0].sum().backward()


def test_the_remedy_changes_nothing_in_evaluation():
    plain = randomize(PATNet(**SMALL)).eval()
    remedied = PATNet(**SMALL, gate_norm_eval=True).eval()
    remedied.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(plain(x)[0], remedied(x)[0])


def test_checkpointing_updates_running_statistics_once():
    kwargs = dict(last_mixer_cfg=dict(type=SELF, attn_drop=0, proj_drop=0))
    plain, checkpointed = PATNet(**SMALL, **kwargs), PATNet(**SMALL, **kwargs, with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, checkpointed):
        model.train()(x)[0].square().sum().backward()
    for (name, a), b in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(a, b), name
    assert all(m.momentum == 0.1 for m in checkpointed.modules() if isinstance(m, nn.BatchNorm2d))


def test_init_is_truncated_normal_with_zero_biases():
    model = PATNet(**SMALL, out_indices=(0, 3))
    model.init_weights()
    for name, parameter in model.named_parameters():
        if name.endswith(('bias', 'table')):
            assert not parameter.any(), name
        elif parameter.ndim == 1:
            assert (parameter == 1).all(), name
    assert model.stages[3][0].mixer.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.stages[3][0].expand.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_stochastic_depth_rises_linearly_over_all_blocks():
    model = PATNet(**SMALL, drop_path_rate=0.35)
    rates = [getattr(b.drop_path, 'rate', 0.0) for s in model.stages for b in s]
    assert rates == pytest.approx([0.05 * i for i in range(8)])


@pytest.mark.parametrize(
    ('kwargs', 'error', 'text'),
    [
        (dict(arch='t3'), ValueError, "arch='t3'.*t0.*'l'"),
        (dict(arch=dict(depths=(1, 1, 1, 1))), ValueError, "'depths' and 'channels'"),
        (dict(arch=dict(depths=(1,), channels=(8,))), ValueError, '4 each, all positive'),
        (dict(out_indices=4), ValueError, r'-4\.\.3'),
        (dict(frozen_stages=2, out_indices=0), ValueError, r'0\.\.1'),
        (dict(num_heads=7), ValueError, 'num_heads=7'),
        (dict(act_cfg=dict(type='Relu')), ValueError, "'Relu'"),
    ],
)
def test_wrong_arguments_name_the_choices(kwargs, error, text):
    with pytest.raises(error, match=text):
        PATNet(**{**SMALL, **kwargs})


def test_it_is_in_the_root_registry():
    assert isinstance(MODELS.build(dict(type='PATNet', **SMALL)), PATNet)
