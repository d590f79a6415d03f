"""mmengine's pure-Python configs: classes where the other style has names."""

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope

from selnext_mm.config.load import load_config, merge_options
from selnext_mm.config.type_names import name_of

PURE = """
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.evaluation import CocoMetric
from mmengine.config import read_base
from mmengine.hooks import CheckpointHook
from torch.optim import AdamW

from selnext_mm.engine.optimizers.layer_decay import LayerDecayOptimWrapperConstructor
from selnext_mm.models.backbones import SELNeXt

with read_base():
    from .base import *
train_dataloader = dict(dataset=dict(type=CocoDataset, pipeline=[dict(type=LoadAnnotations)]))
val_evaluator = dict(type=CocoMetric)
optim_wrapper = dict(optimizer=dict(type=AdamW, lr=lr))
model = dict(type='RetinaNet', backbone=dict(type=SELNeXt, arch='atto'))
default_hooks = dict(checkpoint=dict(type=CheckpointHook))
"""


def test_classes_become_names_that_mean_them(tmp_path):
    pytest.importorskip('mmdet')
    import mmdet.datasets
    import mmdet.evaluation

    import selnext_mm.engine.optimizers.layer_decay as layer_decay

    if not hasattr(layer_decay, 'LayerDecayOptimWrapperConstructor'):
        text = '\n'.join(line for line in PURE.splitlines() if 'layer_decay' not in line)
    else:
        text = PURE
    (tmp_path / 'base.py').write_text('lr = 0.1\n')
    (tmp_path / 'mine.py').write_text(text)
    cfg = load_config(tmp_path / 'mine.py')
    assert cfg.train_dataloader.dataset.type == 'mmdet.CocoDataset'
    assert cfg.train_dataloader.dataset.pipeline[0].type == 'mmdet.LoadAnnotations'
    assert cfg.val_evaluator.type == 'mmdet.CocoMetric'
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=0.1)
    assert cfg.model.backbone.type == 'SELNeXt'
    assert cfg.default_hooks.checkpoint.type == 'CheckpointHook'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert DATASETS.get(cfg.train_dataloader.dataset.type) is mmdet.datasets.CocoDataset
        assert METRICS.get(cfg.val_evaluator.type) is mmdet.evaluation.CocoMetric
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').val_evaluator.type == 'mmdet.CocoMetric'


class Unregistered:
    pass


def test_what_is_registered_nowhere_goes_by_its_path():
    name = name_of(Unregistered)
    assert name == f'{__name__}.Unregistered'
    assert DATASETS.get(name) is Unregistered


def test_a_config_in_memory_is_named_too():
    cfg = merge_options(Config(dict(model=dict(type=Unregistered))), None)
    assert cfg.model.type == name_of(Unregistered)
