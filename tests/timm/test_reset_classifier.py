"""``reset_classifier`` with and without pooling, beside timm's own ConvNeXt as the oracle."""

import pytest
import timm
import torch
from torch import nn
from torch.testing import assert_close

from tests.timm.models import SMALL

OURS = [name for name in SMALL if not name.startswith('na_')]
CALLS = ((0,), (0, ''), (2,), (2, 'avg'), (3, ''), (0, 'avg'), (4,))


def build(name, **kwargs):
    return timm.create_model(name, num_classes=10, **kwargs).eval()


@torch.no_grad()
def outcome(model, x):
    """What a user sees of a head: shapes, whether there is a classifier, and its mode."""
    maps = model.forward_features(x)
    classifier = model.get_classifier()
    return dict(
        output=model(x).shape,
        pre_logits=model.forward_head(maps, pre_logits=True).shape,
        classes=model.num_classes,
        width=model.head_hidden_size,
        no_classifier=isinstance(classifier, nn.Identity),
        training=any(module.training for module in model.modules()),
    )


def test_selnext_answers_like_timms_convnext():
    x = torch.rand(2, 3, 64, 64)
    ours, theirs = build('selnext_atto'), build('convnext_atto')
    assert outcome(ours, x) == outcome(theirs, x)
    for call in CALLS:
        ours.reset_classifier(*call)
        theirs.reset_classifier(*call)
        assert outcome(ours, x) == outcome(theirs, x), call


def test_a_model_is_created_without_pooling_like_timms_convnext():
    x = torch.rand(2, 3, 64, 64)
    ours, theirs = (build(f'{name}_atto', global_pool='') for name in ('selnext', 'convnext'))
    assert outcome(ours, x) == outcome(theirs, x)


@pytest.mark.parametrize('name', OURS)
def test_without_pooling_each_position_is_classified(name):
    """The map of logits at a position is what the pooled head says of that position alone."""
    model = build(name)
    maps = torch.randn(2, model.num_features, 2, 3)
    with torch.no_grad():
        plain = model.forward_head(maps)
        model.global_pool = ''
        logits = model.forward_head(maps)
        hidden = model.forward_head(maps, pre_logits=True)
        model.global_pool = 'avg'
        assert logits.shape == (2, 10, 2, 3)
        assert hidden.shape == (2, model.head_hidden_size, 2, 3)
        for i in range(2):
            for j in range(3):
                position = maps[:, :, i : i + 1, j : j + 1]
                assert_close(logits[:, :, i, j], model.forward_head(position))
                assert_close(hidden[:, :, i, j], model.forward_head(position, pre_logits=True))
        assert_close(model.forward_head(maps), plain, rtol=0, atol=0)


@pytest.mark.parametrize('name', OURS)
def test_a_new_classifier_has_device_dtype_and_mode_of_the_model(name):
    model = build(name).to('meta', torch.float64)
    for pool in (None, ''):
        model.reset_classifier(0, pool)
        model.reset_classifier(2)
        (weight, bias) = model.get_classifier().parameters()
        assert {t.device.type for t in (weight, bias)} == {'meta'}
        assert {t.dtype for t in (weight, bias)} == {torch.float64}
        assert not any(module.training for module in model.modules())


@pytest.mark.parametrize('name', OURS)
@pytest.mark.parametrize('pool', ['avg', ''])
def test_a_pruned_model_gets_a_head_of_its_last_stage(name, pool):
    x = torch.rand(2, 3, 64, 64)
    seen = []
    for model in (build(name), build('convnext_atto')):
        model.prune_intermediate_layers([2], prune_norm=True)
        width = model.feature_info[2]['num_chs']
        assert model.head_hidden_size == width
        model.reset_classifier(7, pool)
        result = outcome(model, x)
        assert result.pop('width') == width
        pre_logits = result.pop('pre_logits')
        assert pre_logits == ((2, width) if pool else (2, width, 4, 4))
        seen.append(result)
    assert seen[0] == seen[1]
