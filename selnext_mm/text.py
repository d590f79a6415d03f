"""Helpers for messages: similar names, counts with nouns, shortened text, previews of lists."""

import difflib
from collections.abc import Iterable


def near(name: str, names: Iterable[str], count: int = 2, cutoff: float = 0.6) -> list[str]:
    """The ``count`` names most similar to ``name``, best first; [] if there are none."""
    return difflib.get_close_matches(name, list(names), n=count, cutoff=cutoff)


def did_you_mean(name: str, names: Iterable[str], count: int = 2, cutoff: float = 0.6) -> str:
    """'; did you mean a or b?'; empty if no name is similar to ``name``."""
    found = near(name, names, count, cutoff)
    return f'; did you mean {" or ".join(found)}?' if found else ''


def counted(number: int, noun: str, plural: str = '') -> str:
    """'1 image', '3 images', '2 classes'; ``plural`` if more words than the noun change."""
    if number == 1:
        return f'1 {noun}'
    regular = (
        f'{noun[:-1]}ies' if noun.endswith('ry') else noun + ('es' if noun[-1:] == 's' else 's')
    )
    return f'{number} {plural or regular}'


def per_second(number: int, seconds: float, noun: str) -> str:
    """``12.3 images/s``; below 0.1 the time of one: ``25 s per image``."""
    rate = number / seconds
    return f'{rate:.1f} {noun}s/s' if rate >= 0.1 or not number else f'{1 / rate:.0f} s per {noun}'


def visible(text: str) -> str:
    """``text`` with unprintable characters as ``\\u...``.

    JSON may contain lone surrogates, which cannot be printed, and marks that reverse the direction
    of the following text.
    """
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def short(value, limit: int = 160) -> str:
    """``value`` as one line of at most ``limit`` characters; the middle of a long one is cut."""
    try:
        text = ' '.join(str(value).split())
    except (RecursionError, ValueError):  # nested too deep, or an integer of too many digits
        text = type(value).__name__
    text = visible(text)
    half = limit // 2 - 2
    return text if len(text) <= limit else f'{text[:half]}...{text[-half:]}'


def preview(names: Iterable, limit: int = 5) -> str:
    """'a, b, c and 7 more': the first ``limit`` names, each on one line."""
    names = list(names)
    shown = [short(n) if str(n).isprintable() else repr(n) for n in names[:limit]]
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(shown) + more
