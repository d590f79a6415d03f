"""What ``--resume`` and the variables of a restarted job mean for the config."""

import json
import signal
import sys

import pytest
import torch
from mmengine.config import Config

from selnext_mm.checkpoints.integrity import write_checkpoint
from selnext_mm.cli import train
from selnext_mm.engine import session
from selnext_mm.engine.distributed import launch
from selnext_mm.engine.resume.lineage import claim, start_run
from selnext_mm.errors import UserError
from tests.messages.bad_input import CFG
from tests.processes import finish


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setattr(session, 'check_checkpoint', lambda *args, **kwargs: None)
    for name in launch.RESTARTS:
        monkeypatch.delenv(name, raising=False)
    return Config(dict(work_dir=str(tmp_path)))


def checkpoint(folder, name='epoch_1.pth'):
    content = dict(meta=dict(epoch=1, iter=5), state_dict=dict(a=torch.ones(3)), optimizer={})
    return str(write_checkpoint(content, folder / name))


def test_without_the_option_nothing_is_resumed(cfg, tmp_path):
    checkpoint(tmp_path)
    assert session.set_resume(cfg, None) is None
    assert 'load_from' not in cfg


@pytest.mark.parametrize('option', ['auto', 'if-any'])
def test_the_newest_is_taken_and_told(cfg, tmp_path, option):
    path = checkpoint(tmp_path)
    newest = session.set_resume(cfg, option)
    assert newest.lines() == [f'resume from {path} (epoch 1, iteration 5)']
    assert (cfg.resume, cfg.load_from) == (True, path)


def test_an_empty_folder(cfg):
    assert session.set_resume(cfg, 'if-any') is None
    with pytest.raises(UserError, match='no checkpoint in'):
        session.set_resume(cfg, 'auto')


@pytest.mark.parametrize('name', launch.RESTARTS)
def test_a_job_that_was_started_again_goes_on(cfg, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, '0')
    path = checkpoint(tmp_path)
    assert session.set_resume(cfg, None) is None
    monkeypatch.setenv(name, '1')
    session.set_resume(cfg, None)
    assert cfg.load_from == path


def test_a_job_that_was_started_again_before_its_first_checkpoint(cfg, tmp_path, monkeypatch):
    """It goes on from what it was told to go on from, in another folder."""
    monkeypatch.setenv(launch.RESTARTS[0], '2')
    (tmp_path / 'other').mkdir()
    path = checkpoint(tmp_path / 'other')
    session.set_resume(cfg, path)
    assert cfg.load_from == path
    assert session.set_resume(Config(dict(work_dir=str(tmp_path))), None) is None


class DiedError(Exception):
    pass


@pytest.mark.parametrize('start', ['anew', 'from a file'])
def test_dying_in_the_set_up_does_not_adopt_the_earlier_run(
    cfg, tmp_path, monkeypatch, shapes_root, start
):
    """A former run is finished; another one in its folder dies before its first iteration."""
    start_run(tmp_path, None)
    run_id = json.loads((tmp_path / 'run.json').read_text())['runs'][0]['id']
    old = dict(meta=dict(epoch=36, iter=180, run_id=run_id), state_dict={}, optimizer={})
    write_checkpoint(old, tmp_path / 'epoch_36.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_36.pth'))
    (tmp_path / 'other').mkdir()
    other = checkpoint(tmp_path / 'other')

    def build_runner(cfg):
        raise DiedError

    monkeypatch.setattr(session, 'build_runner', build_runner)
    options = ['--resume', other] if start == 'from a file' else []
    arguments = [CFG, '--data-root', str(shapes_root), '--work-dir', str(tmp_path), *options]
    with pytest.raises(DiedError):
        train.main(arguments)
    monkeypatch.setenv(launch.RESTARTS[0], '1')
    again = Config(dict(work_dir=str(tmp_path)))
    session.set_resume(again, options[-1] if options else None)
    assert again.get('load_from') == (other if options else None)


def test_a_failed_start_in_an_empty_folder_leaves_nothing(tmp_path):
    claim(tmp_path / 'none', None)
    claim(tmp_path, None)
    assert not list(tmp_path.iterdir())


TOLD = """
import os, signal, sys, time
from selnext_mm.cli import train

def open_session(args):
    os.kill(os.getpid(), number)
    time.sleep(10)

number = int(sys.argv[1])
train.open_session = open_session
before = signal.getsignal(number)
try:
    train.main(['a.py'])
finally:
    print('given back' if signal.getsignal(number) is before else 'kept')
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_told_to_stop_during_the_set_up(number):
    """In a process of its own: a signal that goes astray would end the tests."""
    process = finish([sys.executable, '-c', TOLD, int(number)], timeout=60)
    assert process.returncode == 75, process.stderr
    assert f'told to stop by {number.name}' in process.stderr
    assert process.stdout == 'given back\n'
