"""The limits of a server, and the error for a request beyond them."""

from dataclasses import dataclass, fields

from selnext_mm.errors import UserError


class RefusedError(Exception):
    """A request that is refused: an HTTP status, why, and what would be accepted.

    ``retry`` is the number of seconds after which to try again, if that may help.
    """

    def __init__(self, status: int, reason: str, retry: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry = status, reason, retry


@dataclass(frozen=True)
class Limits:
    """What is refused, and with which status.

    Args:
        max_bytes: of a body; more is 413.
        max_pixels: of an image, by its header before it is decoded; more is 413.
        seconds: for a body to arrive (408) and for its answer (503).
        queue: requests in progress or waiting, of all clients; more is 503.
        per_client: the same for one address; more is 429.
        batch: images of one shape that run together, at most.
        decoders: images that are decoded or drawn at the same time; these need the most memory.

    Raises:
        UserError: for a limit that is not above 0.
    """

    max_bytes: int = 16_000_000
    max_pixels: int = 50_000_000
    seconds: float = 30.0
    queue: int = 64
    per_client: int = 32
    batch: int = 8
    decoders: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UserError(f'{field.name}={value}; expected a number above 0')
