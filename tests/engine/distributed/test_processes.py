"""``train --gpus N``: N processes of the same command, by torchrun."""

import json
import os
import signal
import sys

import pytest
import torch

from selnext_mm.__main__ import main
from selnext_mm.cli import train_data
from selnext_mm.cli.run_options import LOGGERS
from selnext_mm.config import visualizer
from selnext_mm.config_files import config_root
from selnext_mm.engine.distributed import processes
from selnext_mm.engine.distributed.processes import start_processes
from selnext_mm.engine.resume.work_dir_lock import WorkDirLock
from selnext_mm.errors import UserError
from tests.datasets.formats.writers import SMALL, write_voc
from tests.processes import finish

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What is set for the processes is taken back after the test."""
    for name in ('PET_SIGNALS_TO_HANDLE', 'TORCHELASTIC_SIGNALS_TO_HANDLE'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    for name in ('PYTHONPATH', 'OMP_NUM_THREADS'):
        monkeypatch.setenv(name, '')
    monkeypatch.delenv('RANK', raising=False)


def test_a_machine_with_fewer_gpus_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UserError, match='--gpus 4: this machine has 2'):
        start_processes('train', [], 4)
    with pytest.raises(UserError, match='--gpus 0'):
        start_processes('train', [], 0)


@pytest.mark.integration
@pytest.mark.parametrize(('command', 'status'), [('doctor', 0), ('no-such-command', 2)])
def test_the_status_is_that_of_the_processes(command, status):
    if torch.cuda.device_count():
        pytest.skip('counts on a machine without GPUs')
    before = [signal.getsignal(number) for number in NUMBERS]
    assert start_processes(command, ['--help'], 2) == status
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_windows_consoles_reach_the_children_themselves(monkeypatch):
    """Python cannot send Ctrl-C there: trying to would be an error."""
    monkeypatch.delattr(os, 'tcgetpgrp')
    assert processes._from_terminal()


def test_both_lists_of_loggers_agree():
    assert LOGGERS.keys() == visualizer.LOGGERS.keys()


@pytest.mark.integration
def test_two_processes_train_on_labels_from_another_folder(tmp_path):
    labels = write_voc(SMALL, tmp_path / 'boxes')
    taken = tmp_path / 'work_dirs' / 'boxes_selnext_atto'
    taken.mkdir(parents=True)
    other = WorkDirLock(taken)  # of a run that began a moment ago
    other.acquire()
    done = finish(
        [
            *(sys.executable, '-m', 'selnext_mm', 'train', '--data', labels, 'selnext_atto'),
            *('--gpus', 2, '--epochs', 1, '--image-size', 64, '--workers', 0, '--batch-size', 2),
        ],
        cwd=tmp_path,
        env=dict(
            OMP_NUM_THREADS='1',
            SELNEXT_MM_CACHE=str(tmp_path / 'cache'),
            PYTHONPATH=str(config_root().parent),  # this checkout, whatever is installed
        ),
    )
    other.release()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert not list(taken.iterdir()), 'the second process took another folder than the first'
    run = tmp_path / 'work_dirs' / 'boxes_selnext_atto_2'
    assert done.stdout.count('2 processes: 4 images in each update') == 1
    assert done.stdout.count('What to do next') == 1
    assert 'start from scratch' not in done.stderr
    facts = (run / 'config.py').read_text()
    assert 'lr=0.001' in facts.replace(' ', '')  # of a batch of 4, the base
    metrics = json.loads((run / 'results.json').read_text())['metrics']
    assert 'coco/bbox_mAP' in metrics


def test_bad_labels_are_told_before_processes_start(tmp_path, monkeypatch, capsys):
    """The bug: after our message torchrun added an error of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(train_data, 'start_processes', lambda *args: pytest.fail('they started'))
    labels = write_voc(SMALL, tmp_path / 'boxes')
    for options, message in (
        (['selnext_atto', '--epochs', '0'], '--epochs 0'),
        (['mask_rcnn/selnext_atto'], 'the labels are boxes only'),
        (['w.pth'], 'in the place of MODEL'),
        (['--resume'], '--resume: no checkpoint'),
    ):
        assert main(['train', '--data', str(labels), '--gpus', '2', *options]) == 2
        assert message in capsys.readouterr().err
    next(labels.rglob('*.xml')).write_text('<annotation>')
    assert main(['train', '--data', str(labels), '--gpus', '2']) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if 'error' in x.lower()]
    assert line.startswith('error: ')
    assert '.xml' in line
    assert not (tmp_path / 'work_dirs').exists()


def test_a_launcher_beside_it_is_a_contradiction(capsys):
    assert main(['train', 'any.py', '--gpus', '2', '--launcher', 'slurm']) == 2
    assert 'leave out --launcher slurm, or --gpus' in capsys.readouterr().err
