"""Being told to stop: SIGTERM, SIGUSR1 and Ctrl-C end the run after the iteration."""

import os
import signal
import threading
import time

from selnext_mm.errors import STOPPED

# signal -> exit status after the state was saved
CODES = {signal.SIGTERM: STOPPED, signal.SIGUSR1: STOPPED, signal.SIGINT: 130}
# torchrun passes Ctrl-C on to processes that got it from the terminal already.
INSIST_AFTER = 2.0


class Stopped(SystemExit):
    """The run was told to stop, and did so with its state saved.

    As a ``SystemExit`` it needs no handler: the process ends with ``code``, 75 after SIGTERM
    and SIGUSR1 (EX_TEMPFAIL: to be resumed), 130 after Ctrl-C.
    """


class StopSignals:
    """Takes the signals and remembers the first one; a second one after 2 s acts at once.

    Data-loader workers inherit the handlers when they are forked. Schedulers and terminals signal
    them too, and the iteration needs their images: they ignore the signals, but for a second
    SIGTERM, with which their own process ends them.
    """

    def __init__(self) -> None:
        self.received = 0
        self._when = 0.0
        self._process = 0
        self._former: dict = {}

    def install(self) -> None:
        """From now on the signals are kept. Outside the main thread python cannot take any."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._process = os.getpid()
        for number in CODES:
            self._former.setdefault(number, signal.signal(number, self._take))

    def remove(self) -> None:
        """Give the signals back to whoever had them."""
        while self._former:
            number, handler = self._former.popitem()
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _take(self, number: int, frame) -> None:
        if os.getpid() != self._process:
            if number == signal.SIGTERM and self.received == signal.SIGTERM:
                os._exit(128 + number)
            self.received = max(self.received, number)
        elif not self.received:
            self.received, self._when = number, time.monotonic()
        elif time.monotonic() - self._when > INSIST_AFTER:
            self.remove()
            signal.raise_signal(number)
