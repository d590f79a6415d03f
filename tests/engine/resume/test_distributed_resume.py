"""Two gloo processes; one dies, torchrun starts both again, and the end is the same."""

import os
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.integration


def torchrun(root, folder, *arguments):
    return subprocess.run(
        [
            *(sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc_per_node', '2', '--max_restarts', '1'),
            *(str(root / 'tests' / 'engine' / 'toy_ddp.py'), str(folder), *arguments),
        ],
        env={
            **os.environ,
            'PYTHONPATH': str(root),
            'OMP_NUM_THREADS': '1',
            'GLOO_SOCKET_IFNAME': 'lo',
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def final(folder):
    checkpoint = torch.load(folder / 'epoch_4.pth', weights_only=True)
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (4, 8)
    return checkpoint


@pytest.mark.parametrize('rank', ['0', '1'])
def test_a_dead_process_costs_at_most_the_interval(root, tmp_path, rank):
    whole = torchrun(root, tmp_path / 'whole')
    assert whole.returncode == 0, whole.stderr[-3000:]
    parts = torchrun(root, tmp_path / 'parts', rank, '5', 'SIGKILL')
    assert parts.returncode == 0, parts.stderr[-3000:]
    assert 'resume from' in parts.stdout
    # Two iterations are lost, of three between checkpoints; in the middle of the second epoch.
    assert '(epoch 1, iteration 3)' in parts.stdout
    assert_the_same_end(tmp_path)


def test_one_process_that_is_told_to_stop_stops_both_with_their_state(root, tmp_path):
    whole = torchrun(root, tmp_path / 'whole')
    assert whole.returncode == 0, whole.stderr[-3000:]
    parts = torchrun(root, tmp_path / 'parts', '1', '5', 'SIGTERM')
    assert parts.returncode == 0, parts.stderr[-3000:]
    assert '(epoch 2, iteration 5)' in parts.stdout  # nothing is lost
    assert_the_same_end(tmp_path)


def assert_the_same_end(tmp_path):
    one, other = final(tmp_path / 'whole'), final(tmp_path / 'parts')
    assert len(one['resume_state']['random']) == 2
    for part in ('state_dict', 'ema_state_dict'):
        for key, value in one[part].items():
            assert torch.equal(value, other[part][key]), key
    for mine, theirs in zip(
        one['resume_state']['random'], other['resume_state']['random'], strict=True
    ):
        assert torch.equal(mine['now']['torch'], theirs['now']['torch'])
