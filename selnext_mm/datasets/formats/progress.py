"""A progress bar for long conversions; short ones show none."""

import contextlib
import time
from collections.abc import Callable, Iterator

AFTER = 1.0  # seconds of work before a bar is shown
NAMES = {'labels': 'reading label files'}


@contextlib.contextmanager
def progress_bar(show: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Yields ``advance(what, n, total)``: ``n`` more of ``total`` on the bar named ``what``."""
    if not show:
        yield lambda what, n, total: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    tasks, started = {}, time.monotonic()

    def advance(what: str, n: int, total: int) -> None:
        if what not in tasks:
            name = NAMES.get(what, f'converting {what} images')
            tasks[what] = bar.add_task(name, total=total)
        bar.advance(tasks[what], n)
        if not bar.live.is_started and time.monotonic() - started > AFTER:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
