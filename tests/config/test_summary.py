"""A config in short lines, the banner, and the switch for TensorBoard."""

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import Visualizer
from torch import nn

from selnext_mm.config import summary
from selnext_mm.config.load import load_config
from selnext_mm.config.visualizer import LOGGERS, add_logger, check_backends, name_apart
from selnext_mm.engine.hooks import banner
from selnext_mm.errors import UserError


@pytest.mark.parametrize(
    ('value', 'text'), [(812, '812'), (5_334_536, '5.33 M'), (4.46e9, '4.46 G'), (1500, '1.50 k')]
)
def test_numbers_are_short(value, text):
    assert summary.short_number(value) == text


def test_a_recipe_in_a_few_lines():
    cfg = load_config('mask_rcnn/selnext_t_3x_coco.py')
    assert summary.model_line(cfg) == 'MaskRCNN, backbone SELNeXt (arch tiny), neck FPN'
    assert summary.schedule_line(cfg) == (
        '36 epochs, AdamW lr 0.0002, weight decay 0.05, layer decay 0.95; LinearLR 0 to 500 '
        '(iterations), MultiStepLR at 27, 33 (epochs)'
    )
    assert summary.data_line(cfg).startswith('CocoDataset in data/coco')
    assert summary.precision(cfg) == 'mixed precision'
    assert summary.start_line(cfg) == 'random weights'
    cfg.load_from = 'a.pth'
    assert summary.start_line(cfg) == 'weights of a.pth'
    cfg.resume = True
    assert summary.start_line(cfg) == 'resumed from a.pth'


def test_wrapped_data_sets_are_looked_through():
    inner = dict(type='CocoDataset', data_root='data/x', metainfo=dict(classes=('a', 'b')))
    wrapped = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner])
    )
    cfg = Config(dict(train_dataloader=dict(dataset=wrapped)))
    assert summary.data_line(cfg) == 'CocoDataset in data/x, 2 classes'


@pytest.mark.parametrize('cfg', [{}, {'model': {}}, {'optim_wrapper': {}, 'train_cfg': None}])
def test_a_config_without_a_part_is_no_error(cfg):
    cfg = Config(cfg)
    for line in (summary.model_line, summary.data_line, summary.schedule_line, summary.start_line):
        assert isinstance(line(cfg), str)


def test_frozen_parameters_are_counted_apart():
    model = nn.Sequential(nn.Linear(100, 10), nn.Linear(10, 10))
    assert banner.parameter_text(model) == '1.12 k, all trained'
    model[0].requires_grad_(False)
    assert banner.parameter_text(model) == '1.12 k, 110 trained'


def test_the_device_is_the_one_of_the_weights(monkeypatch):
    model = nn.Linear(2, 2)
    assert banner.device_text(model, 1).startswith('CPU (')
    assert banner.device_text(model, 4).startswith('4 x CPU (')


def test_many_classes_are_cut():
    dataset = SimpleNamespace(metainfo=dict(classes=[f'c{i}' for i in range(80)]))
    assert banner._classes(dataset) == '80 classes: c0, c1, c2, c3, c4, c5, ... (74 more)'
    assert banner._classes(torch.zeros(3)) == ''


@pytest.fixture
def all_loggers(monkeypatch):
    for _, module, _ in LOGGERS.values():
        monkeypatch.setitem(sys.modules, module, ModuleType(module))


@pytest.mark.parametrize('name', LOGGERS)
@pytest.mark.parametrize('visualizer', [None, dict(type='DetLocalVisualizer')])
def test_a_logger_is_added_once_beside_the_local_backend(visualizer, name, all_loggers):
    cfg = Config(dict(work_dir='runs/a', visualizer=visualizer) if visualizer else {})
    add_logger(cfg, name)
    add_logger(cfg, name)
    local, other = cfg.visualizer.vis_backends
    assert (local['type'], other['type']) == ('LocalVisBackend', LOGGERS[name][0])
    VISBACKENDS.get(other['type'])(
        save_dir='somewhere', **{k: other[k] for k in {*other} - {'type'}}
    )


def test_the_run_has_the_name_of_its_work_dir(all_loggers, monkeypatch):
    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    cfg = Config(dict(work_dir='runs/a'))
    for name in LOGGERS:
        add_logger(cfg, name)
    _, _, wandb, mlflow, clearml = cfg.visualizer.vis_backends
    assert wandb['init_kwargs'] == dict(project='selnext_mm', name='a')
    assert (mlflow['exp_name'], mlflow['run_name']) == ('selnext_mm', 'a')
    assert mlflow['tracking_uri'] == f'sqlite:///{Path.cwd()}/runs/a/mlflow.db'
    assert mlflow['artifact_location'] == f'file://{Path.cwd()}/runs/a/mlflow'
    assert clearml['init_kwargs'] == dict(project_name='selnext_mm', task_name='a')


def test_mlflow_writes_to_the_server_that_is_named(all_loggers, monkeypatch):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://localhost:1')
    cfg = Config(dict(work_dir='runs/a'))
    add_logger(cfg, 'mlflow')
    mlflow = cfg.visualizer.vis_backends[1]
    assert mlflow['tracking_uri'] == 'http://localhost:1'
    assert 'artifact_location' not in mlflow


def test_each_run_of_a_process_has_a_visualizer_of_its_own(tmp_path):
    cfg = Config(dict(visualizer=dict(type='Visualizer', name='of_two_runs')))
    made = []
    for _ in range(3):
        mine = copy.deepcopy(cfg)
        name_apart(mine)
        made.append(Visualizer.get_instance(mine.visualizer.name, save_dir=str(tmp_path)))
    assert len({visualizer.instance_name for visualizer in made}) == 3
    assert made[0].instance_name == 'of_two_runs'
    assert Visualizer.get_current_instance() is made[2]
    name_apart(Config(dict(visualizer=None)))


def test_a_logger_of_the_config_stays(all_loggers):
    mine = dict(type='mmengine.WandbVisBackend', init_kwargs=dict(project='mine'))
    cfg = Config(dict(visualizer=dict(type='Visualizer', vis_backends=[mine])))
    add_logger(cfg, 'wandb')
    assert cfg.visualizer.vis_backends == [mine]


@pytest.mark.parametrize(
    ('name', 'package'),
    [('tensorboard', r'selnext_mm\[tensorboard\]'), ('wandb', 'wandb'), ('mlflow', 'mlflow')],
)
def test_without_its_package_the_line_that_installs_it_is_named(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, LOGGERS[name][1], None)
    with pytest.raises(UserError, match=f'--{name}: .*pip install "{package}"'):
        add_logger(Config({}), name)


@pytest.mark.parametrize(
    ('type', 'package'), [('WandbVisBackend', 'wandb'), ('mmengine.MLflowVisBackend', 'mlflow')]
)
def test_a_backend_whose_package_is_missing_is_told_before_the_run(type, package, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    backends = [dict(type='LocalVisBackend'), dict(type=type)]
    with pytest.raises(UserError, match=f'{type} needs {package}: pip install {package}'):
        check_backends(Config(dict(visualizer=dict(vis_backends=backends))))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    check_backends(Config(dict(visualizer=dict(vis_backends=backends))))


def test_backends_of_others_are_left_alone():
    check_backends(Config({}))
    check_backends(Config(dict(visualizer=dict(type='DetLocalVisualizer'))))
    check_backends(Config(dict(visualizer=dict(vis_backends=[dict(type='Mine')]))))


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('mask_rcnn/selnext_t_3x_coco.py', '1333 x 800 pixels'),
        ('cls/selnext_t_in1k.py', '224 x 224 pixels'),
        ('mask_rcnn/selnext_atto_shapes.py', '224 x 224 pixels'),
    ],
)
def test_the_size_of_the_images(name, text):
    assert summary.size_text(load_config(name)) == text


def test_a_size_that_is_not_known():
    assert summary.size_text(Config(dict(model=dict(type='X')))) == ''
