"""``predict`` and ``test --out`` on one trained model: the same objects, complete files."""

import csv
import json
import sys

import pytest
from pycocotools.coco import COCO

from tests.integration.conftest import CONFIG, ROOT, call
from tests.integration.test_tools import TEST, checkpoint

pytestmark = pytest.mark.integration
CLI = (sys.executable, '-m', 'selnext_mm')
ENV = dict(PYTHONPATH=str(ROOT))


def predict(*arguments, cwd):
    return call(*CLI, 'predict', *arguments, '--device', 'cpu', cwd=cwd, env=ENV)


@pytest.fixture(scope='session')
def predicted(trained, shapes_root, tmp_path_factory):
    """(folder, finished process) of the held-out shapes, with the ids of their COCO file."""
    folder = tmp_path_factory.mktemp('predict')
    ann = shapes_root / 'annotations' / 'instances_val2017.json'
    result = predict(
        *(CONFIG, checkpoint(trained), shapes_root / 'val2017'),
        *('--out', 'out', '--ann', ann, '--score-thr', '0.1', '--batch-size', '3'),
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return folder / 'out', result


def test_the_same_objects_as_the_test_tool(predicted, trained, shapes_root, tmp_path):
    result = call(
        *(*TEST, CONFIG, checkpoint(trained), '--data-root', shapes_root, '--fast-eval'),
        *('--out', 'r.json', '--cfg-options', 'test_dataloader.num_workers=0'),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        'r.bbox.json',
        'r.json',
        'r.segm.json',
    ]
    summary = json.loads((tmp_path / 'r.json').read_text())
    assert summary['results'] == dict(bbox='r.bbox.json', segm='r.segm.json')
    assert set(summary['per_class']['segm']) == {
        c['name'] for c in COCO(summary['annotations']).dataset['categories']
    }

    def by_image(path):
        rows = {}
        for r in json.loads(path.read_text()):
            rows.setdefault(r['image_id'], []).append(r)
        return rows

    theirs = by_image(tmp_path / summary['results']['segm'])
    ours = by_image(predicted[0] / 'results.json')
    assert ours.keys() == theirs.keys()
    for image, rows in theirs.items():
        assert len(ours[image]) == len(rows)
        for a, b in zip(ours[image], rows, strict=True):
            assert a['category_id'] == b['category_id']
            assert a['score'] == pytest.approx(b['score'], abs=1e-4)
            assert a['bbox'] == pytest.approx(b['bbox'], abs=1e-2)


def test_the_files_are_coco_s(predicted, shapes_root):
    folder, result = predicted
    truth = COCO(str(shapes_root / 'annotations' / 'instances_val2017.json'))
    found = COCO(str(folder / 'predictions.json'))
    assert {i['id']: i['file_name'] for i in found.dataset['images']} == {
        i['id']: i['file_name'] for i in truth.dataset['images']
    }
    assert {c['id']: c['name'] for c in found.dataset['categories']} == {
        c['id']: c['name'] for c in truth.dataset['categories']
    }
    loaded = truth.loadRes(str(folder / 'results.json'))
    assert len(loaded.anns) == len(found.anns) > 0
    some = next(iter(found.anns.values()))
    assert some['area'] == found.annToMask(some).sum()
    assert len(list((folder / 'pictures').iterdir())) == len(truth.imgs)
    assert 'category ids from' in result.stdout


def test_panel_reads_the_results(predicted, shapes_root, tmp_path):
    result = call(
        *(*CLI, 'panel', '--ann', shapes_root / 'annotations' / 'instances_val2017.json'),
        *('--images', shapes_root / 'val2017', '--results', predicted[0] / 'results.json'),
        *('--out', 'p.png', '--num', '2', '--score-thr', '0.1'),
        cwd=tmp_path,
        env=ENV,
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_unreadable_pictures_are_named_and_the_others_done(classifier, broken, tmp_path):
    result = predict(
        *(classifier.config, classifier.checkpoint, broken, 'gone.jpg'),
        *('--out', 'out', '--top-k', '2'),
        cwd=tmp_path,
    )
    assert result.returncode == 1, result.stderr[-2000:]
    for name, reason in {
        'cut.jpg': 'truncated',
        'empty.png': 'empty',
        'text.jpg': 'not an image',
        'gone.jpg': 'no such file',
    }.items():
        assert any(
            line.startswith('skipped ') and name in line and reason in line
            for line in result.stderr.splitlines()
        ), (name, result.stderr)
    assert '4 images, 4 skipped' in result.stdout
    with open(tmp_path / 'out' / 'predictions.csv') as file:
        rows = list(csv.DictReader(file))
    assert [r['file'] for r in rows] == ['a.jpg', 'b.png', 'sub/a.jpg', 'sub/c.JPEG']
    assert set(rows[0]) == {'file', 'class_1', 'score_1', 'class_2', 'score_2'}
    records = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    assert [r['classes'][0]['category'] for r in records] == [r['class_1'] for r in rows]
    folder = tmp_path / 'out' / 'pictures'
    drawn = sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*.jpg'))
    assert drawn == ['a.jpg', 'b.jpg', 'sub/a.jpg', 'sub/c.jpg']


MISTAKES = {
    'nothing readable': (['{p}/text.jpg'], 'the image cannot be read'),
    'no image': (['{p}/none*.jpg'], 'no images'),
    'threshold': (['{p}', '--score-thr', '7'], '--score-thr 7'),
    'category file': (['{p}', '--ann', '{p}/notes.txt'], 'notes.txt is not JSON'),
    'checkpoint': (['{p}', '--classes', 'a'], '--classes names 1 class and the model has 4'),
}


@pytest.mark.parametrize('case', sorted(MISTAKES))
def test_a_mistake_leaves_nothing_behind(case, classifier, broken, tmp_path, capsys):
    from selnext_mm.__main__ import main

    arguments, text = MISTAKES[case]
    before = sorted(tmp_path.rglob('*'))
    code = main(
        [
            *('predict', str(classifier.config), str(classifier.checkpoint)),
            *(a.format(p=broken) for a in arguments),
            *('--out', str(tmp_path / 'out'), '--device', 'cpu'),
        ]
    )
    assert code == 2
    assert text in capsys.readouterr().err
    assert sorted(tmp_path.rglob('*')) == before


def test_predictions_are_replaced_only_by_force(classifier, pictures, tmp_path, capsys):
    from selnext_mm.__main__ import main

    common = ['predict', str(classifier.config), str(classifier.checkpoint)]
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'mine.txt').write_text('kept')
    rest = ['--out', str(out), '--device', 'cpu']
    assert main([*common, str(pictures), *rest]) == 0
    assert main([*common, str(pictures / 'a.jpg'), *rest]) == 2
    assert '--force replaces them' in capsys.readouterr().err
    assert main([*common, str(pictures / 'a.jpg'), *rest, '--force']) == 0
    assert len(json.loads((out / 'predictions.json').read_text())) == 1
    assert [p.name for p in (out / 'pictures').iterdir()] == ['a.jpg']
    assert (out / 'mine.txt').read_text() == 'kept'
