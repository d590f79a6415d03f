"""Every registered model by its shapes alone: what timm's own test of default settings asks."""

import pytest
import timm
import torch
from timm.models import get_arch_name, group_parameters, is_model, list_models
from torch import nn

import selnext_mm.timm
from tests.timm.models import PARAMETERS, SMALL


def on_meta(name, **kwargs):
    with torch.device('meta'):
        return timm.create_model(name, **kwargs).eval()


def images(channels=3, size=224):
    return torch.empty(2, channels, size, size, device='meta')


def test_all_are_registered():
    assert sorted(selnext_mm.timm.MODELS) == sorted(PARAMETERS)
    assert all(map(is_model, PARAMETERS))
    assert len(list_models('selnext_*')) == 9
    assert len(list_models('patnet_*')) == 6


@pytest.mark.parametrize('name', PARAMETERS)
def test_default_settings_fit_the_model(name):
    model = on_meta(name)
    cfg = model.default_cfg
    state = model.state_dict()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert get_arch_name(cfg['architecture']) == name
    assert state[f'{cfg["classifier"]}.weight'].shape[0] == cfg['num_classes'] == 1000
    assert state[f'{cfg["first_conv"]}.weight'].shape[1] == 3
    assert cfg['interpolation'] in ('bilinear', 'bicubic')
    assert 0.8 <= cfg['crop_pct'] <= 1
    assert max(cfg['mean']) < 1
    assert max(cfg['std']) < 1

    maps = model.forward_features(images())
    assert maps.shape == (2, model.num_features, *cfg['pool_size'])
    assert model.forward_head(maps, pre_logits=True).shape == (2, model.head_hidden_size)
    assert model.forward_head(maps).shape == (2, 1000)
    model.reset_classifier(0)
    assert model.forward_head(maps).shape == (2, model.head_hidden_size)
    model.reset_classifier(0, '')
    assert model.forward_head(maps).shape == maps.shape


@pytest.mark.parametrize('name', SMALL)
def test_without_classifier_and_without_pooling(name):
    plain = on_meta(name, num_classes=0, global_pool='')
    assert plain(images()).shape == (2, plain.num_features, 7, 7)
    assert on_meta(name, num_classes=0)(images()).shape == (2, plain.head_hidden_size)


@pytest.mark.parametrize('name', SMALL)
def test_other_channels_and_classes(name):
    model = on_meta(name, in_chans=1, num_classes=10, drop_rate=0.1, drop_path_rate=0.1)
    assert model(images(channels=1)).shape == (2, 10)
    assert model.get_classifier().out_features == 10
    model.reset_classifier(7)
    assert model.get_classifier().out_features == model.num_classes == 7
    assert model(images(channels=1)).shape == (2, 7)


@pytest.mark.parametrize('name', PARAMETERS)
def test_features_have_the_sizes_that_feature_info_tells(name):
    model = on_meta(name, features_only=True)
    info = model.feature_info
    outputs = model(images())
    assert len(outputs) == len(info) in (4, 5)
    for y, channels, reduction in zip(outputs, info.channels(), info.reduction(), strict=True):
        assert y.shape == (2, channels, 224 // reduction, 224 // reduction)


@pytest.mark.parametrize('name', SMALL)
def test_features_of_some_stages_only(name):
    model = on_meta(name, features_only=True)
    outputs = model(images())
    last = on_meta(name, features_only=True, out_indices=(-2, -1))
    assert [y.shape for y in last(images())] == [y.shape for y in outputs[-2:]]
    early = on_meta(name, features_only=True, out_indices=(1, 2))
    assert [y.shape for y in early(images())] == [y.shape for y in outputs[1:3]]
    assert not any('head' in key or 'classifier' in key for key in early.state_dict())
    assert len(early.state_dict()) < len(model.state_dict())


@pytest.mark.parametrize('name', SMALL)
@pytest.mark.parametrize('coarse', [False, True])
def test_layer_decay_has_every_parameter_once_from_stem_to_head(name, coarse):
    model = on_meta(name)
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    order = sorted(groups)
    assert sorted(n for g in groups.values() for n in g) == sorted(dict(model.named_parameters()))
    assert any(model.default_cfg['first_conv'] in n for n in groups[order[0]])
    assert any(model.default_cfg['classifier'] in n for n in groups[order[-1]])
    stages = 5 if coarse else 9
    assert len(groups) >= stages


def test_a_block_and_the_downsampling_before_it_decay_alike():
    model = on_meta('selnext_atto')
    layer = {n: i for i, g in group_parameters(model, model.group_matcher()).items() for n in g}
    blocks = [layer[f'backbone.stages.{i}.{j}.gamma'] for i, j in ((0, 0), (0, 1), (1, 0), (3, 1))]
    assert blocks == [1, 2, 3, 12]
    assert layer['backbone.downsample_layers.1.1.weight'] == 3
    assert layer['backbone.norm3.weight'] == layer['head.fc.weight'] == 13


@pytest.mark.parametrize('name', SMALL)
def test_weight_decay_leaves_out_tables_and_vectors(name):
    from timm.optim import param_groups_weight_decay

    model = on_meta(name)
    skip = model.no_weight_decay() if hasattr(model, 'no_weight_decay') else set()
    assert skip == {n for n, _ in model.named_parameters() if 'position.table' in n}
    assert bool(skip) == name.startswith('patnet')
    without, decayed = param_groups_weight_decay(model, 0.05, no_weight_decay_list=skip)
    assert without['weight_decay'] == 0
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert {id(p) for p in decayed['params']} == {id(w) for w in weights}


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="global_pool='max'; expected one of"):
        on_meta('selnext_atto', global_pool='max')
    with pytest.raises(ValueError, match="global_pool='catavgmax'; expected one of"):
        on_meta('patnet_t0').reset_classifier(5, 'catavgmax')
    with pytest.raises(ValueError, match="output_fmt='NLC'"):
        on_meta('selnext_atto').forward_intermediates(images(), output_fmt='NLC')
    with pytest.raises(RuntimeError, match='No pretrained weights exist'):
        timm.create_model('selnext_atto', pretrained=True)
