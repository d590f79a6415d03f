"""Tests that need MMSegmentation are skipped without it, with the line that installs it."""

from importlib.util import find_spec

import pytest

FOLDERS = ('upernet/', 'semantic_fpn/')
REASON = 'pip install mmsegmentation==1.2.2 ftfy regex (or selnext_mm[mmseg]) to run this'
needs_mmseg = pytest.mark.skipif(find_spec('mmseg') is None, reason=REASON)


def is_left_out(leaf: str) -> bool:
    """Does the model of a config want MMSegmentation, which is not here?"""
    return leaf.startswith(FOLDERS) and find_spec('mmseg') is None


def skip_without_mmseg(leaf: str) -> None:
    if is_left_out(leaf):
        pytest.skip(REASON)
