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


@pytest.mark.slow
def test_several_configs_are_timed_as_they_are(tmp_path, capsys):
    """Small ones of the kinds in the papers' tables; the second names weights to download."""
    head = '_base_ = {!r}\nmodel = dict(backbone=dict({}), neck=dict(in_channels={}))\n'
    swin = 'embed_dims=24, depths=[1, 1, 1, 1]'
    root = str(end_to_end.find_config('mask_rcnn/swin_t_3x_coco.py').parent)
    for name, base, backbone, widths in (
        ('a', 'convnext_t_3x_coco.py', "arch='atto'", [40, 80, 160, 320]),
        ('b', 'swin_t_3x_coco.py', swin, [24, 48, 96, 192]),
    ):
        (tmp_path / f'{name}.py').write_text(head.format(f'{root}/{base}', backbone, widths))
    path = tmp_path / 'r.json'
    options = ['--size', '64', '96', '--repeats', '1', '--warmup', '0', '--json', str(path)]
    configs = [str(tmp_path / 'a.py'), str(tmp_path / 'b.py')]
    assert call(end_to_end.main, ['--config', *configs, *options]) == 0
    rows = json.loads(path.read_text())['rows']
    assert [row['label'] for row in rows] == configs
    assert rows[0]['ratio'] == 1
    for row in rows:
        assert row['images_per_s'] == pytest.approx(1 / row['median_s'])
        assert 0 < row['backbone_s'] < row['median_s']
