"""Limits on the number of concurrent requests, in total and per client."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from selnext_mm.serve.limits import Limits, RefusedError


class Places:
    """Counts requests from the first byte to the answer. Used by one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.taken = 0
        self.of: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, client: str) -> Iterator[None]:
        """A place for a request of ``client``, an address.

        Raises:
            RefusedError: 503 if all places are taken, 429 if the client has reached its own limit.
        """
        if self.taken >= self.limits.queue:
            raise RefusedError(503, f'{self.limits.queue} requests are waiting; try again later', 2)
        if self.of[client] >= self.limits.per_client:
            raise RefusedError(
                429,
                f'{self.limits.per_client} requests from this address are waiting; try again later',
                1,
            )
        self.taken += 1
        self.of[client] += 1
        try:
            yield
        finally:
            self.taken -= 1
            self.of[client] -= 1
            if not self.of[client]:
                del self.of[client]
