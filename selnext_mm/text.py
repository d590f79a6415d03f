"""Words for messages: near names, and the first few of many."""

import difflib
from collections.abc import Iterable, Sequence


def near(name: str, names: Iterable[str], count: int = 2, cutoff: float = 0.6) -> list[str]:
    """The ``count`` names that are most like ``name``, best first; [] if none is."""
    return difflib.get_close_matches(name, list(names), n=count, cutoff=cutoff)


def did_you_mean(name: str, names: Iterable[str], count: int = 2, cutoff: float = 0.6) -> str:
    """'; did you mean a or b?', empty if no name is like ``name``."""
    found = near(name, names, count, cutoff)
    return f'; did you mean {" or ".join(found)}?' if found else ''


def preview(names: Sequence, limit: int = 8) -> str:
    """'a, b, c and 7 more'."""
    shown = ', '.join(map(str, names[:limit]))
    return shown + (f' and {len(names) - limit} more' if len(names) > limit else '')
