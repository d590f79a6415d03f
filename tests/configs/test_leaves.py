"""Every leaf of configs/ parses, and its model names classes that exist."""

import pytest
from mmengine.registry import MODELS

from selnext_mm.config_files import config_leaves
from selnext_mm.engine.config import load_config


def test_there_are_leaves():
    assert len(config_leaves()) > 20


@pytest.mark.parametrize('name', config_leaves())
def test_the_leaf_is_a_recipe(name):
    cfg = load_config(name)
    for part in ('train_dataloader', 'val_evaluator', 'optim_wrapper', 'param_scheduler'):
        assert cfg.get(part), part
    with MODELS.switch_scope_and_registry(cfg.default_scope) as registry:
        for part in (cfg.model, *(cfg.model.get(k) for k in ('backbone', 'neck', 'head'))):
            assert not part or registry.get(part['type']), part['type']
