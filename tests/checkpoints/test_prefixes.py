"""Names of weights that other programs have put something before."""

import pytest
import torch
from torch import nn

from selnext_mm.checkpoints.fit import state_dict_of, without_prefix
from selnext_mm.inference.loading import load_strictly


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    'prefix', ['', '_orig_mod.', 'module.', 'module._orig_mod.', '_orig_mod.module.', 'model.']
)
def test_weights_are_found_behind_a_prefix(prefix):
    source, target = net(), net()
    state = {prefix + k: v for k, v in source.state_dict().items()}
    load_strictly(target, state_dict_of(state, 'w.pth'), 'w.pth')
    assert torch.equal(target[0].weight, source[0].weight)


def test_a_part_that_was_compiled():
    state = {'backbone._orig_mod.0.weight': torch.ones(1)}
    assert list(state_dict_of(state, 'w.pth')) == ['backbone.0.weight']


def test_a_prefix_stays_where_not_all_is_there_without_it():
    own = net().state_dict()
    state = {'backbone.0.weight': own['0.weight']}
    assert without_prefix(own, state) == (state, '')
