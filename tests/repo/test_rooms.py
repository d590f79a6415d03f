"""Each room's ``__init__`` says what belongs there and, after "Not here:", what does not."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'selnext_mm'
ROOMS = sorted(
    path.parent
    for path in PACKAGE.rglob('__init__.py')
    if path.parent != PACKAGE and '.mim' not in path.parts
)


@pytest.mark.parametrize('room', ROOMS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_room_says_what_does_not_belong_there(room):
    text = ast.get_docstring(ast.parse((room / '__init__.py').read_text()))
    here, mark, elsewhere = text.partition('Not here: ')
    assert here
    assert mark, 'no sentence "Not here: WHAT (``ROOM/``)."'
    for name in re.findall('``([a-z_/]+)/``', elsewhere):
        assert any((base / name).is_dir() for base in (PACKAGE, ROOT)), name
