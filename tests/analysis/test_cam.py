import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from selnext_mm.analysis.cam import METHODS, choose_layer, class_maps
from selnext_mm.analysis.complexity import build_model
from selnext_mm.analysis.target_class import class_name, find_class
from selnext_mm.cli.cam import METHODS as CHOICES
from selnext_mm.errors import UserError
from tests.oracles import cam as oracle

SELNEXT = dict(type='SELNeXt', arch=dict(depths=(1, 1, 1, 2), channels=(8, 8, 12, 16)))
BACKBONES = {
    'selnext': (SELNEXT, 16),
    'convnext': (
        SELNEXT | dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6)),
        16,
    ),
    'mobilenet_v3': (dict(type='AttentionMobileNetV3', width_mult=0.1), 96),
    'patnet': (
        dict(type='PATNet', arch=dict(depths=(1, 1, 1, 1), channels=(8, 8, 16, 24)), num_heads=2),
        24,
    ),
    'na_resnet': (dict(type='NAResNet', depth=18, base_channels=8), 64),
    'na_mobilenet_v2': (dict(type='NAMobileNetV2', widen_factor=0.1), 1280),
    'convnext_of_mmpretrain': (
        dict(type='ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 12, 16])),
        16,
    ),
}
STAGES = {'na_resnet': 'layer4', 'na_mobilenet_v2': 'layer7'}


def classifier(name='selnext', num_classes=5):
    """A tiny classifier whose every weight matters."""
    backbone, width = BACKBONES[name]
    neck = None if 'NeXt' in backbone['type'] else dict(type='GlobalAveragePooling')
    model = dict(
        type='ImageClassifier',
        backbone=backbone,
        neck=neck,
        head=dict(type='LinearClsHead', in_channels=width, num_classes=num_classes),
    )
    model = build_model(Config(dict(model=model, default_scope='mmpretrain'))).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


ORACLES = {'ablation': oracle.ablation_cam, 'gradcam': oracle.grad_cam}


def check(model, method, layer, asked=None):
    """Maps of two images, for the predicted and for every class, against the oracle's."""
    x = torch.randn(2, 3, 96, 96)
    module = model.backbone.get_submodule(layer)
    expected = [ORACLES[method](model, module, x[i : i + 1]) for i in range(2)]
    scores = model(x, mode='tensor').softmax(1)
    for target in (None, *range(5)):
        for i, result in enumerate(class_maps(model, [x], method, target, asked, ablations=7)):
            assert result.layer == layer
            assert result.predicted == scores[i].argmax()
            assert result.target == (result.predicted if target is None else target)
            assert result.score == pytest.approx(scores[i].max().item(), rel=1e-4)
            assert result.target_score == pytest.approx(scores[i, result.target].item(), rel=1e-4)
            np.testing.assert_allclose(result.heat, expected[i][result.target].numpy(), atol=2e-3)
    # A map is empty where no channel speaks for the class: not for every one.
    assert max(heat.max() for heat in expected) > 0.99
    assert model(x, mode='tensor').min() < 0  # so there were classes with a negative score


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('method', ORACLES)
def test_maps_equal_the_oracle(name, method):
    check(classifier(name), method, STAGES.get(name, 'stages.3'))


@pytest.mark.parametrize('layer', ['stages.2', 'stages.3.1.depthwise_conv', 'downsample_layers.3'])
@pytest.mark.parametrize('method', ORACLES)
def test_any_layer_with_a_map_can_be_asked_for(layer, method):
    """The second one has a shortcut around it, so the whole image must be seen."""
    check(classifier(), method, layer, f'backbone.{layer}')


@pytest.mark.parametrize('method', METHODS)
def test_every_method_leaves_the_model_as_it_was(method, capsys):
    model, x = classifier(), torch.randn(3, 3, 64, 64)
    before, seen = model(x, mode='tensor'), []
    results = class_maps(model, [x[:2], x[2:]], method, on_batch=seen.append)
    assert torch.equal(model(x, mode='tensor'), before)
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert seen == [1, 1, 1]
    assert all(r.heat.shape == (2, 2) and 0 <= r.heat.min() <= r.heat.max() <= 1 for r in results)
    assert not any(capsys.readouterr())


def test_the_command_offers_every_method():
    assert tuple(METHODS) == CHOICES


def test_wrong_arguments_are_answered_with_the_choices(monkeypatch):
    model, x = classifier(), torch.randn(1, 3, 64, 64)
    with pytest.raises(UserError, match=r"'stages.9'.*stages.0, stages.1, stages.2, stages.3"):
        class_maps(model, [x], layer='stages.9')
    with pytest.raises(UserError, match=r'classes 0\.\.4'):
        class_maps(model, [x], target=5)
    with pytest.raises(UserError, match='expected one of ablation, gradcam'):
        class_maps(model, [x], 'scorecam')
    with pytest.raises(UserError, match='no images'):
        class_maps(model, [])
    model.bbox_head = nn.Identity()
    with pytest.raises(UserError, match='need a classifier'):
        class_maps(model, [x])
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(UserError, match=r"pip install 'selnext_mm\[analysis\]'"):
        class_maps(model, [x])


def test_the_default_is_the_last_stage_with_more_than_one_pixel():
    model = classifier()
    with torch.no_grad():
        assert choose_layer(model, torch.randn(1, 3, 64, 64)) == 'stages.3'
        assert choose_layer(model, torch.randn(1, 3, 32, 32)) == 'stages.2'


def test_classes_by_name_synonym_and_index():
    model = nn.Module()
    assert (class_name(model, 3), find_class(model, '3')) == ('class 3', 3)
    with pytest.raises(UserError, match='give an index'):
        find_class(model, 'cat')
    model.dataset_meta = dict(classes=('tench, Tinca tinca', 'cat'))
    assert [find_class(model, t) for t in ('Cat', 'tinca tinca', 'tench, Tinca tinca')] == [1, 0, 0]
    assert class_name(model, 1) == 'cat'
    with pytest.raises(UserError, match='did you mean cat'):
        find_class(model, 'cap')
