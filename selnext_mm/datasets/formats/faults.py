"""The mistakes in many files, reported at once: nobody wants to correct them one run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from selnext_mm.errors import UserError
from selnext_mm.text import visible

SHOWN = 10


class SeveralFaultsError(UserError):
    """Several mistakes, a line for each, with unprintable characters escaped."""


class Faults:
    """Messages about labels, each of one file or one kind."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}  # in their order, each once

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, message: str) -> None:
        self._messages[message] = None

    def take(self, other: 'Faults') -> None:
        self._messages.update(other._messages)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep a :class:`UserError` of the block, and go on behind it."""
        try:
            yield
        except UserError as error:
            self.add(str(error))

    def stop(self) -> None:
        """Raise :class:`UserError` with what was found, if anything was."""
        messages = list(self._messages)
        if len(messages) == 1:
            raise UserError(messages[0])
        if messages:
            lines = [f'- {visible(message)}' for message in messages[:SHOWN]]
            more = len(messages) - SHOWN
            lines += [f'- and {more} more'] if more > 0 else []
            raise SeveralFaultsError(
                '\n'.join([f'{len(messages)} mistakes in the labels:', *lines])
            )
