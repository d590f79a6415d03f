import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from selnext_mm.models.backbones.selnext import SELNeXt
from tests.mmseg import needs_mmseg

DETECTION = dict(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)


class Detector(nn.Module):
    """The parts of a detector that the constructor sees: a backbone and others."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(8, 8, 1)


def wrapper_cfg(**paramwise):
    return dict(
        type='OptimWrapper',
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=paramwise,
        optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.05),
    )


def expected_scale(name, rate, last):
    """ConvNeXt's rule (FACTS: ids 0..n+1, factor rate ** (n + 1 - id)), written out again."""
    parts = name.split('.')
    if parts[0] != 'backbone' or parts[1].startswith('norm'):
        layer = last + 1
    elif parts[1] == 'downsample_layers':
        layer = [0, 2, 3, last][int(parts[2])]
    else:
        layer = [1, 2, 3 + int(parts[3]) // 3, last][int(parts[2])]
    return rate ** (last + 1 - layer)


@pytest.mark.parametrize(('arch', 'last', 'rate'), [('tiny', 6, 0.95), ('small', 12, 0.7)])
def test_groups_follow_the_published_rule(arch, last, rate):
    with torch.device('meta'):
        model = Detector(SELNeXt(arch, **DETECTION))
    wrapper = build_optim_wrapper(model, wrapper_cfg(layer_decay_rate=rate))
    of = {id(p): g for g in wrapper.optimizer.param_groups for p in g['params']}
    for name, parameter in model.named_parameters():
        group = of[id(parameter)]
        assert group['lr'] == pytest.approx(2e-4 * expected_scale(name, rate, last)), name
        decayed = parameter.ndim > 1
        assert group['weight_decay'] == (0.05 if decayed else 0), name
    assert len(of) == len(list(model.parameters()))


def test_seln_weights_are_decayed_and_its_norm_is_not():
    model = Detector(SELNeXt('atto', **DETECTION))
    wrapper = build_optim_wrapper(model, wrapper_cfg(layer_decay_rate=0.9))
    of = {id(p): g['weight_decay'] for g in wrapper.optimizer.param_groups for p in g['params']}
    attention = model.backbone.stages[1][0].attention
    assert of[id(attention.fc1.weight)] == of[id(attention.fc2.weight)] == 0.05
    assert of[id(attention.norm.weight)] == of[id(attention.fc1.bias)] == 0
    assert of[id(model.backbone.stages[1][0].gamma)] == 0


def test_groups_are_those_of_mmdet_for_a_convnext():
    """Same model, same rule: mmdet's constructor, which only takes ConvNeXt, agrees."""
    import mmdet.engine  # noqa: F401
    from mmpretrain.models import ConvNeXt

    arch = dict(depths=[3, 3, 27, 3], channels=[8, 8, 8, 8])
    model = Detector(ConvNeXt(arch, out_indices=[0, 1, 2, 3], gap_before_final_norm=False))
    ours = build_optim_wrapper(model, wrapper_cfg(layer_decay_rate=0.7))
    theirs = build_optim_wrapper(
        model,
        dict(
            wrapper_cfg(decay_rate=0.7, decay_type='layer_wise', num_layers=12),
            constructor='mmdet.LearningRateDecayOptimizerConstructor',
        ),
    )

    def table(wrapper):
        return {
            id(p): (pytest.approx(g['lr']), g['weight_decay'])
            for g in wrapper.optimizer.param_groups
            for p in g['params']
        }

    assert table(ours) == {k: (v[0].expected, v[1]) for k, v in table(theirs).items()}


@pytest.mark.parametrize(('arch', 'num_layers'), [('tiny', 6), ('small', 12), ('base', 12)])
def test_stages_follow_the_published_rule_for_segmentation(arch, num_layers):
    """ConvNeXt's stage_wise: factor 0.9 ** (num_layers + 1 - id), heads and output norms 1."""
    with torch.device('meta'):
        model = Detector(SELNeXt(arch, **DETECTION))
    cfg = wrapper_cfg(layer_decay_rate=0.9, decay_type='stage_wise')
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    scales = {id(p): g['lr'] / 2e-4 for g in groups for p in g['params']}
    for name, parameter in model.named_parameters():
        part, _, rest = name.removeprefix('backbone.').partition('.')
        layer = {'downsample_layers': 0, 'stages': int(rest[0]) + 1 if rest[0].isdigit() else -1}
        expected = 0.9 ** (num_layers + 1 - layer[part]) if part in layer else 1
        assert scales[id(parameter)] == pytest.approx(expected), name
    assert len({g['layer_id'] for g in groups}) == 6


@needs_mmseg
@pytest.mark.parametrize('kind', ['stage_wise', 'layer_wise'])
def test_groups_are_those_of_mmseg_for_a_convnext(kind):
    import mmseg.engine  # noqa: F401
    from mmpretrain.models import ConvNeXt

    arch = dict(depths=[3, 3, 27, 3], channels=[8, 8, 8, 8])
    model = Detector(ConvNeXt(arch, out_indices=[0, 1, 2, 3], gap_before_final_norm=False))
    ours = build_optim_wrapper(model, wrapper_cfg(layer_decay_rate=0.9, decay_type=kind))
    theirs = build_optim_wrapper(
        model,
        dict(
            wrapper_cfg(decay_rate=0.9, decay_type=kind, num_layers=12),
            constructor='mmseg.LearningRateDecayOptimizerConstructor',
        ),
    )
    tables = [
        {id(p): (g['lr'], g['weight_decay']) for g in w.optimizer.param_groups for p in g['params']}
        for w in (ours, theirs)
    ]
    assert tables[0].keys() == tables[1].keys()
    for key, (lr, decay) in tables[0].items():
        assert (pytest.approx(lr), decay) == tables[1][key]


def test_biases_are_not_decayed_without_options():
    """mmengine calls add_params only for non-empty options."""
    model = Detector(SELNeXt('atto'))
    cfg = wrapper_cfg()
    del cfg['paramwise_cfg']
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    assert {g['weight_decay'] for g in groups for p in g['params'] if p.ndim == 1} == {0}


def test_frozen_parameters_are_left_out():
    model = Detector(SELNeXt('atto', frozen_stages=2, **DETECTION))
    wrapper = build_optim_wrapper(model, wrapper_cfg())
    count = sum(p.numel() for g in wrapper.optimizer.param_groups for p in g['params'])
    assert count == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ('paramwise', 'text'),
    [
        (dict(decay_rate=0.9), 'decay_rate'),
        (dict(layer_decay_rate=1.5), '1.5'),
        (dict(decay_type='stages'), "decay_type='stages'; expected one of"),
    ],
)
def test_wrong_options_are_named(paramwise, text):
    with pytest.raises(ValueError, match=text):
        build_optim_wrapper(Detector(SELNeXt('atto')), wrapper_cfg(**paramwise))


def test_a_backbone_without_depths_is_refused():
    with pytest.raises(TypeError, match='get_layer_depth'):
        build_optim_wrapper(Detector(nn.Conv2d(3, 3, 1)), wrapper_cfg())


def test_a_backbone_without_stages_is_refused_by_stages():
    backbone = nn.Conv2d(3, 3, 1)
    backbone.get_layer_depth = lambda name, prefix='': (0, 2)
    with pytest.raises(TypeError, match=r'Conv2d has not both. Use decay_type=.layer_wise'):
        build_optim_wrapper(Detector(backbone), wrapper_cfg(decay_type='stage_wise'))
