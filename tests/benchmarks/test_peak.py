"""benchmarks/peak.py on small sizes."""

import json

import peak
import torch

from selnext_mm.__main__ import call


def test_it_reports_and_refuses(tmp_path, capsys):
    path, threads = tmp_path / 'r.json', torch.get_num_threads()
    small = ['--side', '64', '--mib', '1', '--repeats', '3']
    try:
        assert call(peak.main, [*small, '--threads', '1', '--json', str(path)]) == 0
        result = json.loads(path.read_text())
        assert result['gflop_per_s'] > 0
        assert result['copied_gb_per_s'] > 0
        assert 'GFLOP/s' in capsys.readouterr().out
        assert call(peak.main, [*small, '--threads', '2', '--clock', 'cpu']) == 2
        assert '--threads 1' in capsys.readouterr().err
    finally:
        torch.set_num_threads(threads)
