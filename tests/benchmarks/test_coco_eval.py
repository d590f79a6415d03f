"""The comparison of the two evaluators: what it makes, and that it compares."""

import json

import coco_eval
import numpy as np
import pytest
from pycocotools.coco import COCO

pytest.importorskip('faster_coco_eval')


def run(capsys, monkeypatch, *argv):
    monkeypatch.setattr('sys.argv', ['coco_eval.py', *map(str, argv)])
    coco_eval.main()
    return json.loads(capsys.readouterr().out)


def test_a_synthetic_set_has_coco_s_proportions():
    content, results = coco_eval.synthesize(300, extra=5)
    assert len(content['categories']) == 80
    assert len(content['annotations']) / 300 == pytest.approx(7.3, abs=0.5)
    assert len(results) / 300 == pytest.approx(0.85 * 7.3 + 5, abs=0.5)
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    for a in content['annotations'][:50]:
        mask = truth.annToMask(a)
        assert mask.sum() == pytest.approx(a['area'], rel=0.4, abs=30)
        x, y, w, h = a['bbox']
        rows, columns = np.nonzero(mask)
        assert x - 1 <= columns.min() <= columns.max() <= x + w + 1
        assert y - 1 <= rows.min() <= rows.max() <= y + h + 1
    assert coco_eval.synthesize(300, extra=5) == (content, results)


def test_both_are_timed_and_agree(capsys, monkeypatch, tmp_path):
    out = tmp_path / 'r.json'
    report = run(capsys, monkeypatch, '--synthetic', 12, '--turns', 2, '--copies', 2, '--out', out)
    assert report == json.loads(out.read_text())
    assert report['command'].endswith('--synthetic 12 --copies 2 --detections 0 --turns 2')
    assert report['images'] == 24
    assert {'pycocotools', 'faster-coco-eval'} < set(report['software'])
    for row, kind in zip(report['rows'], ('bbox', 'segm'), strict=True):
        assert row['kind'] == kind
        assert 0.1 < row['mAP'] < 0.9
        low, high = row['ratio_range']
        assert 0 < low <= row['ratio'] <= high


def test_files_are_read_and_another_result_is_noticed(capsys, monkeypatch, tmp_path):
    content, results = coco_eval.synthesize(4)
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    (tmp_path / 'r.json').write_text(json.dumps(results))
    files = ('--ann', tmp_path / 'ann.json', '--results', tmp_path / 'r.json')
    common = (*files, '--kinds', 'bbox', '--turns', 1)
    assert run(capsys, monkeypatch, *common)['predictions'] == len(results)
    filled = run(capsys, monkeypatch, *common, '--detections', 60)
    assert filled['predictions'] == 240

    class Other(coco_eval.evaluator_class()):
        def accumulate(self, *args):
            super().accumulate(*args)
            self.eval['precision'] = self.eval['precision'] * 0.99

    monkeypatch.setattr(coco_eval, 'evaluator_class', lambda: Other)
    with pytest.raises(AssertionError, match='Not equal to tolerance'):
        run(capsys, monkeypatch, *common)


@pytest.mark.parametrize('argv', [[], ['--ann', 'a.json'], ['--synthetic', '4', '--turns', '0']])
def test_a_call_without_data_or_turns_is_refused(argv, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        run(capsys, monkeypatch, *argv)
    assert stopped.value.code == 2
    assert '--synthetic' in capsys.readouterr().err
