"""The results on a model card: the APs of a test have intervals where its predictions are there."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from selnext_mm.cli.publish import main
from selnext_mm.evaluation.coco_scores import run_coco_eval, scores_of
from selnext_mm.publish.results import count_tested
from tests.publish.test_publish import as_run


def predictions(content):
    """Most of the objects, some of them a little beside their place."""
    random = np.random.default_rng(0)
    found = []
    for one in content['annotations']:
        if random.random() < 0.8:
            box = [float(v + random.normal(0, 2)) for v in one['bbox']]
            ids = {k: one[k] for k in ('image_id', 'category_id')}
            found.append(dict(ids, bbox=box, score=float(random.random())))
    return found


@pytest.fixture
def tested(tmp_path, detector, annotations):
    """(work dir, COCO results, AP and AP50) of a detector that was tested on the shapes."""
    content = json.loads(annotations.read_text())
    found = predictions(content)
    scores = scores_of(run_coco_eval(content, found, 'bbox', None))
    metrics = {
        'coco/bbox_mAP': round(scores['AP'], 3),
        'coco/bbox_mAP_50': round(scores['AP50'], 3),
    }
    folder = as_run(tmp_path / 'shapes', detector, metrics)
    file = dict(metrics=metrics, annotations=str(annotations), results=dict(bbox='a.bbox.json'))
    (folder / 'results.json').write_text(json.dumps(file))
    (folder / 'a.bbox.json').write_text(json.dumps(found))
    return folder, found, metrics


def rows(folder, tmp_path):
    assert main([str(folder), '--to', str(tmp_path / 'out')]) == 0
    card = (tmp_path / 'out' / 'README.md').read_text()
    return dict(re.findall(r'^\| (coco/\S+) \| \S+ \| (.*) \|$', card, re.M))


def test_aps_have_an_interval(tested, tmp_path):
    folder, _, metrics = tested
    found = rows(folder, tmp_path)
    assert found.keys() == metrics.keys()
    for key, text in found.items():
        low, high = map(float, text.split(' to '))
        assert 0 < low < metrics[key] < high < 1
        assert high - low < 0.5


@pytest.mark.parametrize('other', ['predictions of another test', 'no annotations', 'no JSON'])
def test_without_the_predictions_of_the_test_there_is_none(tested, tmp_path, other):
    folder, results, _ = tested
    if other == 'predictions of another test':
        (folder / 'a.bbox.json').write_text(json.dumps(results[::2]))
    elif other == 'no JSON':
        (folder / 'a.bbox.json').write_text('[')
    else:
        content = json.loads((folder / 'results.json').read_text())
        (folder / 'results.json').write_text(json.dumps(dict(content, annotations='gone.json')))
    assert set(rows(folder, tmp_path).values()) == {'not computed'}


def test_images_are_counted_as_they_are_trained_on(tmp_path):
    """A byte order mark is no reason to know no number."""
    pytest.importorskip('mmdet')
    content = dict(
        images=[dict(id='a', file_name='1.jpg', width=8, height=8)],
        categories=[dict(id=1, name='cat')],
    )
    (tmp_path / 'a.json').write_text(json.dumps(content), encoding='utf-8-sig')
    data = dict(type='CocoDataset', ann_file=str(tmp_path / 'a.json'), pipeline=[])
    data |= dict(test_mode=True, metainfo=dict(classes=('cat',)), data_prefix=dict(img='.'))
    cfg = Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=data)))
    assert count_tested(SimpleNamespace(cfg=cfg)) == 1


def test_hidden_folders_are_no_images_of_a_test(tmp_path):
    pytest.importorskip('mmpretrain')
    for name in ('a/1.png', 'b/2.png', '.ipynb_checkpoints/3.png'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b'')
    data = dict(type='CustomDataset', data_prefix=str(tmp_path), pipeline=[])
    cfg = Config(dict(default_scope='mmpretrain', test_dataloader=dict(dataset=data)))
    assert count_tested(SimpleNamespace(cfg=cfg)) == 2
