"""What the banner says about the lr and the machine."""

import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from selnext_mm.config.summary import schedule_line
from selnext_mm.engine.hooks.banner import load_warning, lr_factor


@pytest.mark.parametrize(('enable', 'lr'), [(True, 'lr 0.005,'), (False, 'lr 0.01,')])
def test_the_lr_is_the_one_that_is_used(enable, lr):
    cfg = Config(
        dict(
            auto_scale_lr=dict(enable=enable, base_batch_size=16),
            train_dataloader=dict(batch_size=4),
            train_cfg=dict(max_epochs=3),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, weight_decay=0)),
        )
    )
    factor = lr_factor(SimpleNamespace(cfg=cfg, world_size=2))
    assert lr in schedule_line(cfg, factor)


def test_a_crowded_machine_is_told(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, 'getloadavg', lambda: (2.0 * cores, 0, 0))
    monkeypatch.setattr(torch, 'get_num_threads', lambda: cores)
    assert f'on {cores} core{"s" * (cores > 1)}:' in load_warning('cpu')
    assert ('OMP_NUM_THREADS' in load_warning('cpu')) == (cores > 1)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    assert 'OMP_NUM_THREADS' not in load_warning('cpu')
    assert load_warning('cuda') is None
    monkeypatch.setattr(os, 'getloadavg', lambda: (0.5 * cores, 0, 0))
    assert load_warning('cpu') is None
