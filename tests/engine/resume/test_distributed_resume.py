"""Two gloo processes; one dies, torchrun starts both again, and the end is the same."""

import sys

import pytest
import torch

from tests.processes import finish

pytestmark = pytest.mark.integration


def torchrun(root, folder, *arguments, script='toy_ddp.py', timeout=300):
    return finish(
        [
            *(sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc_per_node', '2', '--max_restarts', '1'),
            *(root / 'tests' / 'engine' / script, folder, *arguments),
        ],
        env=dict(PYTHONPATH=str(root), OMP_NUM_THREADS='1', GLOO_SOCKET_IFNAME='lo'),
        timeout=timeout,
    )


def final(folder):
    checkpoint = torch.load(folder / 'epoch_4.pth', weights_only=True)
    assert (checkpoint['meta']['epoch'], checkpoint['meta']['iter']) == (4, 8)
    return checkpoint


@pytest.mark.slow
def test_two_processes_go_on_from_their_state(root, tmp_path):
    """One test, so that the run that nobody interrupts is made once."""
    whole = torchrun(root, tmp_path / 'whole')
    assert whole.returncode == 0, whole.stderr[-3000:]
    end = final(tmp_path / 'whole')
    a_dead_process_costs_at_most_the_interval(root, tmp_path / 'dead 0', '0', end)
    a_dead_process_costs_at_most_the_interval(root, tmp_path / 'dead 1', '1', end)
    one_process_that_is_told_to_stop_stops_both_with_their_state(root, tmp_path / 'told', end)


@pytest.mark.slow
def test_the_end_waits_for_gloo_without_the_interpreters_lock(root, tmp_path):
    done = torchrun(root, tmp_path / 'run', script='toy_ddp_end.py', timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('the end of the program') == 2


def a_dead_process_costs_at_most_the_interval(root, folder, rank, end):
    parts = torchrun(root, folder, rank, '5', 'SIGKILL')
    assert parts.returncode == 0, parts.stderr[-3000:]
    assert 'resume from' in parts.stdout
    # Two iterations are lost, of three between checkpoints; in the middle of the second epoch.
    assert '(epoch 1, iteration 3)' in parts.stdout
    assert_equal(end, final(folder))


def one_process_that_is_told_to_stop_stops_both_with_their_state(root, folder, end):
    parts = torchrun(root, folder, '1', '5', 'SIGTERM')
    assert parts.returncode == 0, parts.stderr[-3000:]
    assert '(epoch 2, iteration 5)' in parts.stdout  # nothing is lost
    assert_equal(end, final(folder))


def assert_equal(one, other):
    assert len(one['resume_state']['random']) == 2
    for part in ('state_dict', 'ema_state_dict'):
        for key, value in one[part].items():
            assert torch.equal(value, other[part][key]), key
    for mine, theirs in zip(
        one['resume_state']['random'], other['resume_state']['random'], strict=True
    ):
        assert torch.equal(mine['now']['torch'], theirs['now']['torch'])
