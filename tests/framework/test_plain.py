"""The stand-ins for torch alone against mmengine itself."""

import mmengine.model as mm
import pytest
import torch
from mmengine.registry import Registry
from torch import nn

from selnext_mm.errors import UserError
from selnext_mm.framework import HAS_MMENGINE, BaseModule, plain


def test_mmengine_is_taken_where_it_is_installed():
    assert HAS_MMENGINE
    assert BaseModule is mm.BaseModule


def nested(base):
    """Three levels with an init_cfg each, of which the innermost has to hold."""
    inner = base.Sequential(
        nn.Linear(4, 4), init_cfg=dict(type='Constant', layer='Linear', val=0.5, bias=0.25)
    )
    middle = base.ModuleList([nn.Conv2d(3, 4, 1), inner, nn.LayerNorm(4)])
    outer = base.BaseModule(
        init_cfg=[
            dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.1),
            dict(type='Constant', layer='_NormBase', val=2.0, bias=-1.0),
            dict(type='Normal', layer=['LayerNorm'], mean=1.0, std=0.5),
        ]
    )
    outer.body, outer.norm, outer.last = middle, nn.BatchNorm2d(4), nn.Linear(4, 2, bias=False)
    outer.deeper = nn.Sequential(base.Sequential(nn.Linear(4, 3)))
    return outer


def test_modules_start_with_the_values_that_mmengine_gives():
    ours, theirs = nested(plain), nested(mm)
    for model in (ours, theirs):
        torch.manual_seed(3)
        model.init_weights()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    # mmengine looks at direct bases only, so that "_NormBase" is no name of a BatchNorm2d.
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_a_second_call_changes_nothing():
    model = nested(plain)
    model.init_weights()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_registry_builds_what_mmengines_builds():
    for registry in (plain.Registry('a'), Registry('a')):

        @registry.register_module()
        class Thing:
            def __init__(self, size: int) -> None:
                self.size = size

        registry.register_module(name='Other', module=Thing)
        cfg = dict(type='Other', size=3)
        assert registry.build(cfg).size == 3
        assert cfg == dict(type='Other', size=3)
        assert registry.build(dict(type=Thing, size=4)).size == 4
        assert registry.get('Thing') is Thing
        assert registry.get('Nothing') is None
        with pytest.raises(KeyError, match='Thinh'):
            registry.build(dict(type='Thinh', size=3))


def test_an_initialisation_of_mmengine_names_what_there_is():
    model = plain.BaseModule(init_cfg=dict(type='Kaiming', layer='Linear'))
    with pytest.raises(UserError, match='TruncNormal, Normal, Constant'):
        model.init_weights()
