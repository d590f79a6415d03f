"""benchmarks/end_to_end.py with a small detector on a small image."""

import json

import end_to_end
import pytest

from selnext_mm.__main__ import call

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')


def test_a_run_reports_images_and_the_backbones_share(tmp_path, capsys, monkeypatch):
    path = tmp_path / 'r.json'
    monkeypatch.setitem(end_to_end.CONVNEXT, 'arch', 'atto')
    options = ['--size', '64', '96', '--repeats', '2', '--warmup', '0', '--json', str(path)]
    config = 'configs/_base_/models/mask_rcnn_selnext_atto_slim.py'
    assert call(end_to_end.main, ['--config', config, *options]) == 0
    rows = json.loads(path.read_text())['rows']
    assert [row['label'] for row in rows] == list(end_to_end.VARIANTS)
    for row in rows:
        assert 0 < row['backbone_s'] < row['median_s']
        assert len(row['seconds']) == 2
        assert row['boxes'] == 100
    assert capsys.readouterr().out.count('\n') == 2 + len(rows)
