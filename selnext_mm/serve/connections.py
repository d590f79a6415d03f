"""Connections to the server: not too many, and none that stays without a request."""

import asyncio
import contextlib

from uvicorn.protocols.http.h11_impl import H11Protocol

from selnext_mm.serve.limits import Limits

PER_REQUEST = 4  # connections for each request that may be in progress: a browser opens several
# asyncio accepts so many before it looks at the first; where files run out it logs each of them.
BACKLOG = 64
SPARE_FILES = 64 + BACKLOG  # of those that the process may open, for the model and the program


def most_connections(limits: Limits) -> tuple[int, int]:
    """(of all clients, of one address): 4 for each request allowed, and no more than open files."""
    total = PER_REQUEST * limits.queue
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allowed != resource.RLIM_INFINITY:
            total = min(total, max(1, allowed - SPARE_FILES))
    return total, min(total, PER_REQUEST * limits.per_client)


def _refusal(status: str, reason: str) -> bytes:
    body = f'{{"detail":"{reason}"}}'
    return (
        f'HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 1\r\n'
        f'connection: close\r\ncontent-length: {len(body)}\r\n\r\n{body}'
    ).encode('ascii')


TOO_MANY = _refusal('503 Service Unavailable', 'too many connections')
TOO_MANY_OF_ONE = _refusal('429 Too Many Requests', 'too many connections from this address')


def limited_protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol with these limits, for ``uvicorn.Config(http=...)``.

    A connection beyond :func:`most_connections` gets 503 or, of one address, 429 and is closed. One
    on which no request has arrived with all its headers after ``limits.seconds`` is closed.
    """
    total, per_client = most_connections(limits)

    class LimitedProtocol(H11Protocol):
        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            address = self.client and self.client[0]
            clients = (getattr(c, 'client', None) for c in self.connections)
            same = sum(bool(client) and client[0] == address for client in clients)
            if len(self.connections) > total or same > per_client:
                transport.write(TOO_MANY if len(self.connections) > total else TOO_MANY_OF_ONE)
                transport.close()
                return
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def _watch(self) -> None:
            """Let the time for the next request begin or, if it is there, end."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_watching()
            elif self.deadline is None:
                self.deadline = self.loop.call_later(limits.seconds, self._give_up)

        def _stop_watching(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

        def _give_up(self) -> None:
            self.deadline = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return LimitedProtocol
