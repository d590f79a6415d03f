"""What a result says of how it was made."""

import re
import sys
from pathlib import Path

import _report
import pytest

RESULTS = sorted((_report.ROOT / 'benchmarks' / 'results').rglob('*.json'))


def test_a_command_names_no_folder_of_the_machine(monkeypatch):
    inside = _report.ROOT / 'benchmarks' / 'peak.py'
    outside = Path('/somewhere/else/my mmcv.whl')
    monkeypatch.setattr(sys, 'argv', [str(inside), '--compiled', str(outside), 'out/r.json'])
    assert _report.command() == "python benchmarks/peak.py --compiled 'my mmcv.whl' out/r.json"


@pytest.mark.parametrize('path', RESULTS, ids=lambda path: path.name)
def test_stored_results_name_no_folder_of_a_machine(path):
    assert not re.search(r'(?<![\w.])/(root|home|tmp|work|Users|mnt)/', path.read_text())
