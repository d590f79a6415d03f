"""Give the processes that torchrun has restarted a rendezvous of their own.

torchrun keeps one key-value store for all attempts (torch 2.5 and later; before, each attempt had
a prefix). A process of the second attempt finds the addresses that dead processes of the first
left there, and cannot connect: "connection refused", or an endless wait
(https://github.com/pytorch/pytorch/issues/135712). The restart count does not help, because each
machine has its own. Here the first process draws a name for the attempt and sends it to the live
processes; this name is the prefix of all keys of the attempt.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

from torch.distributed import PrefixStore, Store
from torch.distributed import rendezvous as torch_rendezvous
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import register_rendezvous_handler

from selnext_mm.errors import UserError

SCHEME = 'selnext-mm'
PAUSE = 0.05  # seconds between two polls by the first process


def init_method() -> str:
    """``init_method`` for ``torch.distributed.init_process_group`` in this process."""
    return f'{SCHEME}://' if _agent_store() else 'env://'


def _agent_store() -> bool:
    """Whether the store belongs to torchrun and outlives this process."""
    return os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'


def agree(store: Store, rank: int, world_size: int, timeout: timedelta) -> str:
    """A name that is shared by the processes of this attempt and by no others.

    Each process but the first draws a word, stores it, and waits for the answer to this word. The
    first process answers every word that it finds, including those of dead processes, until each
    rank has confirmed the name.

    Raises:
        UserError: if processes did not arrive within ``timeout``; the message names their ranks.
    """
    if rank:
        word = uuid.uuid4().hex
        store.set(f'word/{rank}', word)
        store.wait([f'answer/{word}'], timeout)
        name = store.get(f'answer/{word}').decode()
        store.set(f'here/{name}/{rank}', '')
        return name
    name = uuid.uuid4().hex
    missing, answered = set(range(1, world_size)), set()
    end = time.monotonic() + timeout.total_seconds()
    while missing:
        for other in sorted(missing):
            if store.check([f'here/{name}/{other}']):
                missing.remove(other)
            elif store.check([f'word/{other}']):
                word = store.get(f'word/{other}').decode()
                if word not in answered:
                    store.set(f'answer/{word}', name)
                    answered.add(word)
        if missing and time.monotonic() > end:
            raise UserError(
                f'of the {world_size} processes, rank {sorted(missing)} did not come within '
                f'{timeout}; see what they wrote, or whether their machines run'
            )
        if missing:
            time.sleep(PAUSE)
    return name


def agreed(topic: str, choose: Callable[[], str]) -> str:
    """What the first process of a run chose, in every process, before there is a process group.

    Processes that torchrun has started again get what those before them chose. Without torchrun's
    own store, each process chooses for itself.

    Args:
        topic: key in the store; one run asks once.
        choose: called in the first process.
    """
    if not _agent_store() or os.environ.get('WORLD_SIZE', '1') == '1':
        return choose()
    store, rank, _ = next(torch_rendezvous('env://', timeout=default_pg_timeout))
    store = PrefixStore(SCHEME, store)
    if rank == 0 and not store.check([topic]):
        store.set(topic, choose())
    return store.get(topic).decode()


def _handler(
    url: str, timeout: timedelta = default_pg_timeout, **kwargs
) -> Iterator[tuple[Store, int, int]]:
    # The URL may contain rank and world size, which torchrun also sets in the environment.
    for store, rank, world_size in torch_rendezvous('env://', timeout=timeout, **kwargs):
        if _agent_store():
            meeting = PrefixStore(SCHEME, store)
            store = PrefixStore(agree(meeting, rank, world_size, timeout), meeting)
        yield store, rank, world_size


register_rendezvous_handler(SCHEME, _handler)
