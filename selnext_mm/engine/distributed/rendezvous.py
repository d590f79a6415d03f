"""Let the processes that torchrun has started again meet at a place of their own.

torchrun keeps one key-value store for all attempts (torch 2.5 and later; before, each attempt had
a prefix). A process of the second attempt finds the addresses that the dead ones of the first
left there, and connects to nobody: "connection refused", or a wait without end
(https://github.com/pytorch/pytorch/issues/135712). The restart count is no remedy, because each
machine counts for itself. Here the first process draws a name for the attempt and tells it to
those that are alive; all keys of the attempt are below that name.
"""

import os
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

from torch.distributed import PrefixStore, Store
from torch.distributed import rendezvous as torch_rendezvous
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import register_rendezvous_handler

from selnext_mm.errors import UserError

SCHEME = 'selnext-mm'
PAUSE = 0.05  # seconds between two looks of the first process


def init_method() -> str:
    """``init_method`` for ``torch.distributed.init_process_group`` in this process."""
    return f'{SCHEME}://' if _agent_store() else 'env://'


def _agent_store() -> bool:
    """Does the store belong to torchrun, and outlive this process?"""
    return os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'


def agree(store: Store, rank: int, world_size: int, timeout: timedelta) -> str:
    """A name that the processes of this attempt share, and those of no other attempt.

    Each process but the first draws a word, writes it down, and waits for the answer to this
    word. The first one answers every word that it finds, also those of the dead, until each rank
    has said that it got the name.

    Raises:
        UserError: processes that did not come within ``timeout``, by their rank.
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


def _handler(
    url: str, timeout: timedelta = default_pg_timeout, **kwargs
) -> Iterator[tuple[Store, int, int]]:
    # The url may carry rank and world size, which torchrun has put into the environment as well.
    for store, rank, world_size in torch_rendezvous('env://', timeout=timeout, **kwargs):
        if _agent_store():
            meeting = PrefixStore(SCHEME, store)
            store = PrefixStore(agree(meeting, rank, world_size, timeout), meeting)
        yield store, rank, world_size


register_rendezvous_handler(SCHEME, _handler)
