import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from selnext_mm.engine.device import adapt_to_device
from selnext_mm.engine.optimizers import amp


def config():
    return Config(
        dict(
            model=dict(
                head=[dict(norm_cfg=dict(type='SyncBN')), dict(norm_cfg=dict(type='SyncBN'))],
                neck=dict(norm_cfg=dict(type='GN')),
            ),
            optim_wrapper=dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
            env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=7200)),
            launcher='pytorch',
            train_dataloader=dict(num_workers=0, persistent_workers=True),
            val_dataloader=dict(num_workers=2, persistent_workers=True),
        )
    )


@pytest.mark.parametrize('device', ['cpu', 'mps'])
def test_a_device_gets_what_it_can_do(device):
    cfg = config()
    lines = adapt_to_device(cfg, device)
    assert [h['norm_cfg']['type'] for h in cfg.model.head] == ['BN', 'BN']
    assert cfg.model.neck.norm_cfg.type == 'GN'
    assert cfg.optim_wrapper.type == 'AutoAmpOptimWrapper'
    assert cfg.env_cfg.dist_cfg == dict(backend='gloo', timeout=7200)
    assert cfg.model_wrapper_cfg.device_ids is None
    assert len(lines) == 3
    assert 'SyncBN becomes BN in 2 places' in lines[1]
    why = dict(cpu='no accelerator: ', mps='mps: ')[device]
    assert all(line.startswith(why) for line in lines)


def test_an_accelerator_keeps_the_config():
    cfg, before = config(), config()
    assert adapt_to_device(cfg, 'cuda') == []
    before.train_dataloader.persistent_workers = False
    assert cfg.to_dict() == before.to_dict()


def test_workers_persist_only_where_there_are_some():
    cfg = config()
    adapt_to_device(cfg, 'cuda')
    assert not cfg.train_dataloader.persistent_workers
    assert cfg.val_dataloader.persistent_workers


@pytest.mark.parametrize(
    ('device', 'kind'), [('cpu', OptimWrapper), ('mps', OptimWrapper), ('cuda', AmpOptimWrapper)]
)
def test_mixed_precision_follows_the_device(monkeypatch, device, kind):
    monkeypatch.setattr(amp, 'get_device', lambda: device)
    # Stands for the accelerator, which this test does not have.
    monkeypatch.setattr(amp, 'AmpOptimWrapper', FakeAmp)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    built = OPTIM_WRAPPERS.build(
        dict(
            type='AutoAmpOptimWrapper',
            optimizer=optimizer,
            loss_scale='dynamic',
            clip_grad=dict(max_norm=1),
        )
    )
    if kind is OptimWrapper:
        assert type(built) is OptimWrapper
        assert built.clip_grad_kwargs == dict(max_norm=1)
    else:
        assert built.kwargs['loss_scale'] == 'dynamic'


class FakeAmp:
    def __init__(self, **kwargs):
        self.kwargs = kwargs
