"""A run of a second: random augmentation, dropout, batch norm, momentum, a schedule, EMA."""

import random

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import Dataset

from selnext_mm.engine import ConciseRunner

IMAGES, BATCH = 10, 2


class ToyData(Dataset):
    """Item i is i plus noise of three generators; ``loaded`` lists what this process loaded."""

    metainfo = dict(classes=('a',))
    loaded = []

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        self.loaded.append(index)
        noise = random.random() + np.random.rand() + torch.rand(3)
        return dict(inputs=noise + index, index=index)


class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)
        )

    def forward(self, inputs, index=None, mode='tensor'):
        out = self.layers(torch.stack(list(inputs)) if isinstance(inputs, list) else inputs)
        return dict(loss=out.square().mean()) if mode == 'loss' else [out]


class ToyMetric(BaseMetric):
    """The mean of the outputs; drawing random numbers, as a test pipeline may."""

    def process(self, data_batch, data_samples):
        torch.rand(3)
        self.results.append(float(data_samples[0].mean()))

    def compute_metrics(self, results):
        return dict(acc=float(np.mean(results)))


class At(Hook):
    """Call ``action(runner)`` after iteration ``step``, as the last hook."""

    priority = 'LOWEST'

    def __init__(self, step, action):
        self.step, self.action = step, action

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            self.action(runner)


class BeforeEnd(At):
    """The same, before the checkpoint hook sees the iteration."""

    priority = 'NORMAL'


class Killed(BaseException):
    """What stands for kill -9: no handler of the code under test catches it."""


def kill(runner):
    raise Killed


def build(work_dir, hooks=(), ema=True, val=True, workers=0, iters=None, epochs=3, **changes):
    """A runner; ``iters`` makes the loop iteration-based. Changes are top-level keys."""
    for kind in (MMLogger, MessageHub, Visualizer):
        kind._instance_dict.clear()
    if iters:
        train_cfg = dict(type='ResumableIterBasedTrainLoop', max_iters=iters, val_interval=4)
    else:
        train_cfg = dict(type='ResumableEpochBasedTrainLoop', max_epochs=epochs, val_interval=2)
    torch.manual_seed(1)
    sampler = dict(type='DefaultSampler', shuffle=True)
    loader = dict(batch_size=BATCH, num_workers=workers, persistent_workers=False)
    config = dict(
        model=ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(**loader, dataset=ToyData(), sampler=sampler),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=7),
            dict(type='MultiStepLR', milestones=[2], by_epoch=not iters),
        ],
        custom_hooks=[*([dict(type='EMAHook')] if ema else []), *hooks],
        default_hooks=dict(
            checkpoint=dict(
                type='SafeCheckpointHook', by_epoch=not iters, interval=4 if iters else 1
            )
        ),
        randomness=dict(seed=3),
        log_level='WARNING',
        default_scope='mmengine',
        experiment_name='toy',
    )
    if val:
        config.update(
            val_dataloader=dict(
                **loader, dataset=ToyData(), sampler=dict(type='DefaultSampler', shuffle=False)
            ),
            val_cfg=dict(),
            val_evaluator=[ToyMetric()],
        )
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            config[key] = merge(config[key], value)
        else:
            config[key] = value
    # The one setting that the runner takes from its config alone.
    wrapper = config.pop('model_wrapper_cfg', None)
    return ConciseRunner(**config, cfg=dict(model_wrapper_cfg=wrapper) if wrapper else None)


def merge(old, new):
    return {
        **old,
        **{k: merge(old.get(k, {}), v) if isinstance(v, dict) else v for k, v in new.items()},
    }


def everything(runner):
    """Weights, buffers, momentum, averaged weights and the schedulers' state."""
    state = {f'model.{k}': v.clone() for k, v in runner.model.state_dict().items()}
    for i, entry in runner.optim_wrapper.optimizer.state_dict()['state'].items():
        state |= {f'optimizer.{i}.{k}': v for k, v in entry.items() if v is not None}
    for hook in runner.hooks:
        if type(hook).__name__ == 'EMAHook':
            state |= {f'ema.{k}': v for k, v in hook.ema_model.state_dict().items()}
    state['lr'] = torch.tensor(runner.optim_wrapper.get_lr()['lr'])
    state['rng'] = torch.get_rng_state()
    state['at'] = torch.tensor([runner.epoch, runner.iter])
    return state


def assert_same(one, other):
    different = sorted(one.keys() ^ other.keys())
    different += [k for k in one.keys() & other.keys() if not torch.equal(one[k], other[k])]
    assert not different, different
