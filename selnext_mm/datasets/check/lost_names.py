"""Why a listed image is missing: the name comes from another machine, or is spelt differently."""

import os
import re
from collections.abc import Iterable
from unicodedata import normalize
from urllib.parse import unquote

FOLDERS = 4  # number of parent folders in which a missing image is searched


def foreign_name(path: str) -> str:
    """Why a file name cannot be found here, if it looks like another machine's; else ''."""
    if '://' in path or re.search(r'\bhttps?:/', path):
        return 'file_name is an address: download the images and name the files'
    if '\\' in path:
        return r'file_name has Windows separators (\): write / in the annotation file'
    if re.search(r'(^|/)[A-Za-z]:/', path):
        return 'file_name starts with a drive of Windows: name the files relative to the images'
    return ''


def _same_letters(name: str) -> str:
    return normalize('NFC', name)


# How two spellings of one name differ, and the common spelling.
SPELLINGS = {
    'upper and lower case differ': str.casefold,
    'the letters are the same, in two forms of Unicode (NFC and NFD)': _same_letters,
    'blanks stand around the name': str.strip,
    'the name is encoded as in an address (%20 for a blank)': unquote,
}


def spelt_else(lost: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Lost name -> the existing name that was found instead."""
    lost, present, found = list(lost), list(present), {}
    for spell in SPELLINGS.values():
        there = {spell(name): name for name in present}
        for name in lost:
            if name not in found and spell(name) in there:
                found[name] = there[spell(name)]
    return found


def difference(name: str, there: str) -> str:
    """How two names of :func:`spelt_else` differ."""
    return next(words for words, spell in SPELLINGS.items() if spell(name) == spell(there))


def elsewhere(path: str, folder: str = '') -> str:
    """A file with the name of ``path`` in ``folder`` or in a parent of ``path``; '' if none."""
    name, places = os.path.basename(path), [folder] if folder else []
    above = os.path.dirname(path)
    for _ in range(FOLDERS):
        above = os.path.dirname(above)
        places.append(above)
    there = (os.path.join(place, name) for place in places)
    return next((p for p in there if '\0' not in p and os.path.isfile(p)), '')
