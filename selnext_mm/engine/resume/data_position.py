"""The position of a run in its data, and how to return to it without loading images."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.logging import print_log
from torch.utils.data import DataLoader, get_worker_info

from selnext_mm.engine.resume.random_state import get_random_state, set_random_state
from selnext_mm.text import counted


class SampleIndex(int):
    """The index of a sample that carries ``key``: its place in the run, a tuple of numbers."""

    key: tuple[int, ...]

    @classmethod
    def at(cls, index: int, key: tuple[int, ...]) -> 'SampleIndex':
        made = cls(index)
        made.key = key
        return made


def seed_all(key: tuple[int, ...]) -> None:
    """Seed python, numpy and torch from ``key``: equal keys, equal numbers."""
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2])
    torch.manual_seed(int(words[3]))


class SeededWorkers:
    """A ``worker_init_fn``: each sample's random numbers depend only on its place in the run.

    Without it they would depend on what the worker did before, which a resumed run cannot know,
    and on the number of workers.
    """

    def __init__(self, inner) -> None:
        self.inner = inner

    def __call__(self, worker: int) -> None:
        if self.inner is not None:
            self.inner(worker)
        dataset = get_worker_info().dataset
        kind = type(dataset)

        class Seeded(kind):  # type: ignore[misc, valid-type]  # the base is the config's class
            def __getitem__(self, index):
                if isinstance(index, SampleIndex):
                    seed_all(index.key)
                    index = int(index)
                return super().__getitem__(index)

            if hasattr(kind, '__getitems__'):

                def __getitems__(self, indices):
                    return [self[index] for index in indices]

        # The worker has its own copy of the data set, so the changed class is not visible outside.
        dataset.__class__ = Seeded


class _Rest:
    """The batches of one pass after the first ``skip``; indices are marked with ``key``."""

    def __init__(self, inner: Iterator[list], skip: int, key: tuple[int, ...] | None) -> None:
        self.inner, self.position, self.skip, self.key = inner, 0, skip, key

    def __iter__(self) -> Iterator[list]:
        return self

    def leave_out(self) -> None:
        """Draw the batches that have been trained on; no image is loaded for them."""
        while self.position < self.skip and next(self.inner, None) is not None:
            self.position += 1
        self.skip = 0

    def __next__(self) -> list:
        self.leave_out()
        batch, position = next(self.inner), self.position
        self.position += 1
        if self.key is None:
            return batch
        return [
            SampleIndex.at(item, (*self.key, position, k))
            if isinstance(item, int | np.integer)
            else item
            for k, item in enumerate(batch)
        ]


class ResumableBatches:
    """A batch sampler that can skip its first batches and marks indices for workers.

    In all other respects it behaves like the wrapped batch sampler.
    """

    def __init__(self, batches, seed: int | None) -> None:
        self.batches = batches
        self.seed = seed  # None: indices are not marked
        self.number = 0  # number of the pass over the data
        self.skip = 0
        self.live: _Rest | None = None

    def __iter__(self) -> _Rest:
        # DataLoader calls this twice and discards the first iterator, so nothing is drawn here.
        key = None if self.seed is None else (self.seed, self.number, get_rank())
        self.live = _Rest(iter(self.batches), self.skip, key)
        return self.live

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str):
        if name.startswith('__') or name == 'batches':
            raise AttributeError(name)
        return getattr(self.batches, name)


class DataPosition:
    """Counts passes and batches of a loader; a new process can return to its :meth:`state`.

    Args:
        loader: of the training data; its batch sampler gets wrapped.
        seed: of the run.
    """

    def __init__(self, loader: DataLoader, seed: int) -> None:
        self.loader, self.seed = loader, seed
        self.number = self.done = 0
        self.validated = False
        self._start: dict | None = None  # random state at the start of the pass
        self._kept: dict | None = None  # the training's random state during an evaluation
        self._resumed: dict | None = None
        self.batches = None
        if getattr(loader, 'batch_sampler', None) is not None:
            marks = seed if loader.num_workers else None
            self.batches = ResumableBatches(loader.batch_sampler, marks)
            # DataLoader protects the attribute against accidental changes; this one is intended.
            object.__setattr__(loader, 'batch_sampler', self.batches)
            if loader.num_workers:
                loader.worker_init_fn = SeededWorkers(loader.worker_init_fn)

    @property
    def sampler(self):
        return getattr(self.batches, 'sampler', None) or getattr(self.loader, 'sampler', None)

    @property
    def in_pass(self) -> bool:
        """Whether the position is inside a pass, with batches before and after it."""
        return self.done > 0

    @property
    def resumed_unvalidated(self) -> bool:
        """Whether the run has just resumed from a state saved before this position's evaluation."""
        return self._resumed is not None and not self.validated

    @contextlib.contextmanager
    def random_state_kept(self):
        """Random numbers drawn inside do not change those of the training."""
        resumed = self._resumed
        self._kept = resumed['now'] if resumed else get_random_state()
        try:
            yield
        finally:
            set_random_state(self._kept)
            self._kept = None

    def state(self) -> dict:
        """Position and random states of all processes. Every process has to call it."""
        start = self._resumed['start'] if self._resumed else self._start
        states = all_gather_object(dict(start=start, now=self._kept or get_random_state()))
        sampler_seed = getattr(self.sampler, 'seed', None)
        return dict(
            number=self.number,
            done=self.done,
            validated=self.validated,
            batches_per_pass=len(self.loader),
            images_per_batch=getattr(self.batches, 'batch_size', None),
            seed=self.seed,
            sampler_seed=sampler_seed if isinstance(sampler_seed, int) else None,
            random=states,
        )

    def restore(self, state: dict) -> None:
        """Return to the position of ``state``; the next pass starts from there."""
        self.number, self.done = state['number'], state['done']
        self.validated, self.seed = state['validated'], state['seed']
        if state['sampler_seed'] is not None and hasattr(self.sampler, 'seed'):
            self.sampler.seed = state['sampler_seed']
        if self.batches is not None and self.batches.seed is not None:
            self.batches.seed = self.seed
        processes = len(state['random'])
        self._resumed = state['random'][get_rank() % processes]
        if processes != get_world_size():
            self._warn(
                f'{counted(processes, "process")} wrote the checkpoint, {get_world_size()} go on'
            )
        self._fit(state)

    def _fit(self, state: dict) -> None:
        """Adapt the position if the number of batches per pass has changed."""
        before, now = state['batches_per_pass'], len(self.loader)
        if before == now or not self.done:
            return
        self.done = min(now, self.done * now // max(before, 1))
        self._warn(
            f'a pass over the data had {before} batches and has {now}: it goes on at batch '
            f'{self.done}'
        )

    @staticmethod
    def _warn(text: str) -> None:
        print_log(f'{text}; this is not the run that would have been', 'current', level=30)

    def begin(self) -> None:
        """Start a pass; call it before anything in the pass draws random numbers."""
        resumed = self._resumed
        if resumed is not None:
            set_random_state(resumed['start'] if self.in_pass else resumed['now'])
        self._start = get_random_state()

    def __iter__(self):
        """Yield (index in the pass, batch) for the rest of the pass."""
        if self.batches is not None:
            self.batches.skip, self.batches.number = self.done, self.number
        first, iterator = self.done, iter(self.loader)
        if self.in_pass and self._resumed is not None:
            if self.batches is not None:
                self.batches.live.leave_out()
            set_random_state(self._resumed['now'])
        self._resumed = None
        for index, batch in enumerate(iterator, first):
            self.done = index + 1
            self.validated = False
            yield index, batch

    def end(self) -> None:
        """End a pass."""
        self.number, self.done, self._start = self.number + 1, 0, None
