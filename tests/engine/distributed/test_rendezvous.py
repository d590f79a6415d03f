"""A second attempt does not meet what the first one left in the store."""

import threading
from datetime import timedelta

import pytest
import torch.distributed as dist
from mmengine.config import Config

from selnext_mm.engine.distributed import launch, rendezvous
from selnext_mm.engine.distributed.launch import init_cpu_group, use_restart_safe_rendezvous
from selnext_mm.engine.distributed.rendezvous import SCHEME, agree
from selnext_mm.errors import UserError

SECONDS = timedelta(seconds=20)


def attempt(store, ranks, world_size=3, timeout=SECONDS):
    """rank -> name that it got, each in a thread of its own, started in the order given."""
    names = {}

    def join(rank):
        names[rank] = agree(store, rank, world_size, timeout)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return names


@pytest.mark.parametrize('ranks', [(0, 1, 2), (2, 1, 0)])
def test_each_attempt_has_one_name_of_its_own(ranks):
    store = dist.HashStore()
    names = [attempt(store, ranks) for _ in range(3)]
    assert [sorted(found) for found in names] == [[0, 1, 2]] * 3
    assert all(len(set(found.values())) == 1 for found in names)
    assert len({found[0] for found in names}) == 3


def test_what_a_dead_process_wrote_is_not_taken_for_a_living_one():
    store = dist.HashStore()
    store.set('word/1', 'of one that was killed while it waited')
    store.set('here/old/1', '')
    with pytest.raises(UserError, match=r'of the 2 processes, rank \[1\] did not come'):
        agree(store, 0, 2, timedelta(seconds=0.2))
    assert set(attempt(store, (0, 1), world_size=2)) == {0, 1}


def test_one_process_waits_for_nobody():
    assert agree(dist.HashStore(), 0, 1, timedelta(0))


@pytest.fixture
def torchrun(monkeypatch):
    """The environment of a lone process of torchrun, with the store of its agent."""
    store = dist.TCPStore('localhost', 0, is_master=True, wait_for_workers=False)
    values = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='localhost', MASTER_PORT=str(store.port))
    for key, value in dict(values, TORCHELASTIC_USE_AGENT_STORE='True').items():
        monkeypatch.setenv(key, value)
    return store


def test_the_groups_of_two_attempts_share_no_key(torchrun):
    for value in ('first', 'second'):
        store, rank, world_size = next(dist.rendezvous(rendezvous.init_method()))
        assert (rank, world_size) == (0, 1)
        assert not store.check(['key'])
        store.set('key', value)
        assert store.get('key').decode() == value


def test_the_group_is_left_before_the_interpreter_ends(torchrun, monkeypatch):
    """Else a thread of gloo may abort a process that has done its work."""
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    at_end = []
    monkeypatch.setattr(launch.atexit, 'register', at_end.append)
    init_cpu_group(Config(dict(launcher='pytorch')))
    try:
        assert dist.get_backend() == 'gloo'
        (leave,) = at_end
        leave()
        assert not dist.is_initialized()
        leave()  # nothing to leave is no error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_a_store_of_the_first_process_is_new_anyway(torchrun, monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'False')
    assert rendezvous.init_method() == 'env://'


@pytest.mark.parametrize(
    ('launcher', 'expected'), [('pytorch', f'{SCHEME}://'), ('slurm', None), ('none', None)]
)
def test_mmengine_is_told_under_torchrun(torchrun, launcher, expected):
    cfg = Config(dict(launcher=launcher, env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    use_restart_safe_rendezvous(cfg)
    assert cfg.env_cfg.dist_cfg.get('init_method') == expected


def test_a_method_of_the_config_stays(torchrun):
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dict(init_method='env://'))))
    use_restart_safe_rendezvous(cfg)
    assert cfg.env_cfg.dist_cfg.init_method == 'env://'
