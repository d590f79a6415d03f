"""Batches of waiting requests, run in one thread."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selnext_mm.serve.limits import RefusedError
from selnext_mm.serve.model import ServedModel

LOG = logging.getLogger('selnext_mm.serve')


@dataclass
class Job:
    """A prepared image, its original size, and the future that gets the results, with its loop."""

    prepared: Any
    size: tuple[int, int]
    future: asyncio.Future
    loop: asyncio.AbstractEventLoop


def _answer(job: Job, found: list[dict] | None, error: Exception | None) -> None:
    """Give a job its results. Runs in the job's event loop; the client may have left by then."""
    if job.future.done():
        return
    if error is None:
        job.future.set_result(found)
    else:
        job.future.set_exception(error)


class Batches:
    """Runs ``model`` on the images that :meth:`find` gets, at most ``size`` at a time.

    When the model is free, it takes all waiting images. So no request waits for a batch to fill,
    and batches grow when requests arrive faster than the model can process them. Images of
    different shapes run one after another.

    Args:
        model: called in one thread.
        size: images per batch, at most.
        on_batch: called with the size of every batch.
    """

    def __init__(self, model: ServedModel, size: int, on_batch: Callable[[int], object]) -> None:
        self.model, self.size, self.on_batch = model, size, on_batch
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()  # no job may be added after the end
        self._thread = threading.Thread(target=self._work, name='model', daemon=True)
        self._thread.start()

    async def find(self, prepared: Any, size: tuple[int, int]) -> list[dict]:
        """The results for one image. Cancelling the call takes the image out of the queue."""
        loop = asyncio.get_running_loop()
        job = Job(prepared, size, loop.create_future(), loop)
        with self._lock:
            if self._closed:
                raise RefusedError(503, 'the server is stopping', 5)
            self._waiting.put(job)
        return await job.future

    def _take(self) -> list[Job] | None:
        """All waiting jobs, up to a batch; blocks until there is one. None at the end."""
        jobs: list[Job] = []
        while len(jobs) < self.size:
            try:
                job = self._waiting.get(block=not jobs)
            except queue.Empty:
                break
            if job is None:
                if not jobs:
                    return None
                self._waiting.put(None)
                break
            if not job.future.cancelled():
                jobs.append(job)
        return jobs

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            self.on_batch(len(jobs))
            error: Exception | None = None
            found: list = [None] * len(jobs)
            try:
                found = self.model.find_prepared([j.prepared for j in jobs], [j.size for j in jobs])
            # A batch that fails must not stop those after it.
            except Exception as problem:
                LOG.exception('the model failed on a batch of %d', len(jobs))
                error = problem
            for job, instances in zip(jobs, found, strict=True):
                job.loop.call_soon_threadsafe(_answer, job, instances, error)

    def close(self) -> None:
        """Answer the waiting requests, then stop."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join(60)
