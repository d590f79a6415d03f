"""toy_born_signalled.py START_METHOD: a loader whose workers are signalled as they are born.

Each worker signals itself in the first instruction of ours that it runs: where the data set is
unpickled, or after the fork when torch has put its own handler in place; and again in the
``worker_init_fn``. The parent is signalled while it starts them. Prints the batches, what the
parent received, and what it still blocks.
"""

import multiprocessing
import os
import signal
import sys
import types
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

# The module alone: the package takes seconds to import, in each worker again.
sys.modules['selnext_mm'] = types.ModuleType('selnext_mm')
sys.modules['selnext_mm'].__path__ = [str(Path(__file__).resolve().parents[2] / 'selnext_mm')]
from selnext_mm.engine.signals import StopSignals, shield_workers  # noqa: E402

NUMBERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


def signal_myself(*args):
    for number in NUMBERS:
        os.kill(os.getpid(), number)


def parent_is_signalled():
    os.kill(os.getpid(), signal.SIGUSR1)


class Data(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index

    def __getstate__(self):
        parent_is_signalled()
        return {'any': 1}

    def __setstate__(self, state):
        signal_myself()


def main(method):
    multiprocessing.set_start_method(method)
    if method == 'fork':
        os.register_at_fork(before=parent_is_signalled)
        torch.set_num_threads = signal_myself  # torch's workers call it early
    signals = StopSignals()
    signals.install()
    loader = DataLoader(Data(), num_workers=1, worker_init_fn=signal_myself)
    shield_workers(loader)
    shield_workers(loader)
    for _ in range(2 if method == 'fork' else 1):
        print(*(int(batch) for batch in loader), flush=True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    print(signal.Signals(signals.received).name, blocked or 'nothing')


if __name__ == '__main__':
    main(sys.argv[1])
