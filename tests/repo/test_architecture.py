"""The arrows drawn in docs/architecture.md are those that the test of imports holds."""

import re
from pathlib import Path

import pytest

from tests.repo.test_imports import ALLOWED

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'architecture.md'
NODE = re.compile(r'(\w+)(?:\["(.+?)"\])?')
# They start or bridge, and are described below the drawing.
ASIDE = {
    '',
    'timm',
    'torchvision',
    'torchvision_import',
    'import_hooks',
    'distributions',
    'compat_config',
    'compat_imports',
}


def drawn(text):
    """(arrows between nodes, rooms of each node) of the first flowchart."""
    chart = re.search(r'```mermaid\nflowchart TD\n(.+?)```', text, re.S)[1]
    arrows, rooms = set(), {}
    for line in chart.strip().splitlines():
        source, targets = line.split(' --> ')
        nodes = [NODE.fullmatch(part.strip()) for part in (source, *targets.split(' & '))]
        for node in nodes:
            rooms.setdefault(node[1], [node[1]])
            if node[2]:
                rooms[node[1]] = node[2].split('<br/>')[0].split(', ')
        arrows |= {(nodes[0][1], node[1]) for node in nodes[1:]}
    return arrows, rooms


ARROWS, ROOMS = drawn(PAGE.read_text())
TABLE = {  # whole rooms: what a part of models may import, models may
    (own.split('.')[0], other.split('.')[0]) for own, others in ALLOWED.items() for other in others
}


def below(node):
    """The nodes that arrows lead to from ``node``."""
    found, left = set(), [node]
    while left:
        here = left.pop()
        new = {target for source, target in ARROWS if source == here} - found
        found |= new
        left += new
    return found


@pytest.mark.parametrize(('source', 'target'), sorted(ARROWS))
def test_what_is_drawn_is_allowed(source, target):
    for own in ROOMS[source]:
        for other in ROOMS[target]:
            assert own == 'cli' or (own, other) in TABLE


def test_all_rooms_are_drawn():
    rooms = {room for names in ROOMS.values() for room in names}
    assert rooms == {room.split('.')[0] for room in ALLOWED} - ASIDE | {'cli'}


def test_arrows_lead_to_whatever_is_allowed():
    missing = []
    for node, rooms in ROOMS.items():
        reached = {room for target in below(node) for room in ROOMS[target]}
        reached |= set(rooms)
        missing += [
            (own, other)
            for own, other in sorted(TABLE)
            if own in rooms and other not in reached | ASIDE
        ]
    assert missing == []


def test_arrows_point_downwards():
    assert not [node for node in ROOMS if node in below(node)]
