"""What ``--resume`` and the variables of a restarted job mean for the config."""

import pytest
import torch
from mmengine.config import Config

from selnext_mm.checkpoints.atomic import write_checkpoint
from selnext_mm.cli import train
from selnext_mm.errors import UserError


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setattr(train, 'check_checkpoint', lambda *args, **kwargs: None)
    for name in train.RESTARTS:
        monkeypatch.delenv(name, raising=False)
    return Config(dict(work_dir=str(tmp_path)))


def checkpoint(folder, name='epoch_1.pth'):
    content = dict(meta=dict(epoch=1, iter=5), state_dict=dict(a=torch.ones(3)), optimizer={})
    return str(write_checkpoint(content, folder / name))


def test_without_the_option_nothing_is_resumed(cfg, tmp_path):
    checkpoint(tmp_path)
    assert train.set_resume(cfg, None) == []
    assert 'load_from' not in cfg


@pytest.mark.parametrize('option', ['auto', 'if-any'])
def test_the_newest_is_taken_and_told(cfg, tmp_path, option):
    path = checkpoint(tmp_path)
    lines = train.set_resume(cfg, option)
    assert lines == [f'resume from {path} (epoch 1, iteration 5)']
    assert (cfg.resume, cfg.load_from) == (True, path)


def test_an_empty_folder(cfg):
    assert train.set_resume(cfg, 'if-any') == []
    with pytest.raises(UserError, match='no checkpoint in'):
        train.set_resume(cfg, 'auto')


@pytest.mark.parametrize('name', train.RESTARTS)
def test_a_job_that_was_started_again_goes_on(cfg, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, '0')
    path = checkpoint(tmp_path)
    assert train.set_resume(cfg, None) == []
    monkeypatch.setenv(name, '1')
    train.set_resume(cfg, None)
    assert cfg.load_from == path


def test_a_job_that_was_started_again_before_its_first_checkpoint(cfg, tmp_path, monkeypatch):
    """It goes on from what it was told to go on from, in another folder."""
    monkeypatch.setenv(train.RESTARTS[0], '2')
    (tmp_path / 'other').mkdir()
    path = checkpoint(tmp_path / 'other')
    train.set_resume(cfg, path)
    assert cfg.load_from == path
    assert train.set_resume(Config(dict(work_dir=str(tmp_path))), None) == []
