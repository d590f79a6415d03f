"""faster-coco-eval gives pycocotools' numbers, through mmdet's metric."""

import json

import numpy as np
import pytest
from mmengine.registry import METRICS, DefaultScope
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from selnext_mm.errors import UserError
from selnext_mm.evaluation import coco_scores, faster_coco

pytest.importorskip('faster_coco_eval')
pytest.importorskip('mmdet')
MANY = [100, 300, 1000]  # mmdet's maxDets


def guesses(coco, seed=0, extra=3):
    """Predictions made of the truth: shifted, of another class, doubled, missing, out of thin air.

    Boxes and masks are those of the same shifted object, so both kinds of AP are neither 0 nor 1.
    """
    rng = np.random.default_rng(seed)
    categories, results = coco.getCatIds(), []

    def add(image, category, mask, score):
        rle = mask_utils.encode(np.asfortranarray(mask))
        box = [float(v) for v in mask_utils.toBbox(rle)]
        rle['counts'] = rle['counts'].decode()
        results.append(
            dict(image_id=image, category_id=category, bbox=box, score=score, segmentation=rle)
        )

    for image in coco.getImgIds():
        size = coco.imgs[image]['height'], coco.imgs[image]['width']
        for a in coco.loadAnns(coco.getAnnIds([image])):
            if rng.random() < 0.15:
                continue
            mask = coco.annToMask(a)
            for _ in range(1 + (rng.random() < 0.2)):
                reach = max(1, round(0.1 * max(a['bbox'][2:])))
                shift = rng.integers(-reach, reach + 1, 2)
                moved = np.roll(mask, shift, (0, 1))
                right = rng.random() < 0.9
                category = a['category_id'] if right else int(rng.choice(categories))
                add(image, category, moved, float(rng.random() ** 0.5))
        for _ in range(extra):
            y, x = (int(rng.integers(0, s - 12)) for s in size)
            mask = np.zeros(size, np.uint8)
            mask[y : y + 12, x : x + 12] = 1
            add(image, int(rng.choice(categories)), mask, float(rng.random()))
    return results


def evaluate(cls, path, results, kind, max_dets=MANY):
    truth = COCO(str(path))
    run = cls(truth, truth.loadRes([dict(r) for r in results]), kind)
    run.params.maxDets = list(max_dets)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run


def assert_same(path, results, max_dets=MANY):
    for kind in ('bbox', 'segm'):
        given = results
        if kind == 'segm':  # with a box, pycocotools would take its area for the mask's
            given = [{k: v for k, v in r.items() if k != 'bbox'} for r in results]
        want = evaluate(COCOeval, path, given, kind, max_dets)
        got = evaluate(faster_coco.evaluator_class(), path, given, kind, max_dets)
        for key in ('precision', 'recall', 'scores'):
            np.testing.assert_allclose(got.eval[key], want.eval[key], rtol=0, atol=1e-12)
        np.testing.assert_allclose(got.stats, want.stats, rtol=0, atol=1e-12)
        assert 0.05 < want.stats[0] < 0.95, 'the predictions test nothing'


@pytest.fixture
def shapes_ann(shapes_root):
    return shapes_root / 'annotations' / 'instances_val2017.json'


def test_equal_on_shapes(shapes_ann):
    assert_same(shapes_ann, guesses(COCO(str(shapes_ann))))


def test_equal_where_an_image_has_more_detections_than_100(shapes_ann):
    """mAP is taken at 100 detections per class and image, and here that cuts."""
    coco = COCO(str(shapes_ann))
    image, category = coco.getImgIds()[0], coco.getCatIds()[0]
    rng = np.random.default_rng(0)
    results = guesses(coco, extra=0)
    for _ in range(150):
        x, y = rng.integers(0, 80, 2)
        box = [float(v) for v in (x, y, 12, 12)]
        rle = mask_utils.frPyObjects(np.array([box]), 96, 96)[0]
        rle['counts'] = rle['counts'].decode()
        results.append(
            dict(image_id=image, category_id=category, bbox=box, score=0.9, segmentation=rle)
        )
    assert_same(shapes_ann, results)
    assert_same(shapes_ann, results, [1, 10, 100])


def test_no_detection_at_all_is_zero(shapes_ann):
    stats = []
    for cls in (COCOeval, faster_coco.evaluator_class()):
        truth, nothing = COCO(str(shapes_ann)), COCO()
        nothing.dataset = {**truth.dataset, 'annotations': []}
        nothing.createIndex()
        run = cls(truth, nothing, 'bbox')
        run.params.maxDets = list(MANY)
        run.evaluate()
        run.accumulate()
        run.summarize()
        stats.append(run.stats)
    np.testing.assert_array_equal(*stats)
    assert stats[0][0] == 0


@pytest.mark.realdata
def test_equal_on_real_coco_images_with_crowds(coco_root):
    path = coco_root / 'annotations' / 'instances_val2017.json'
    coco = COCO(str(path))
    assert any(a['iscrowd'] for a in coco.dataset['annotations'])
    assert_same(path, guesses(coco))


def as_mmdet(coco, results):
    """(ground truth, predictions) per image, as ``CocoMetric.process`` stores them."""
    labels = {c: i for i, c in enumerate(coco.getCatIds())}
    stored = []
    for image in coco.getImgIds():
        mine = [r for r in results if r['image_id'] == image]
        boxes = np.array([r['bbox'] for r in mine]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        prediction = dict(
            img_id=image,
            bboxes=boxes,
            scores=np.array([r['score'] for r in mine]),
            labels=np.array([labels[r['category_id']] for r in mine]),
            masks=[dict(r['segmentation']) for r in mine],
        )
        record = coco.imgs[image]
        stored.append((dict(width=record['width'], height=record['height']), prediction))
    return stored


def test_the_metric_returns_what_mmdet_s_returns(shapes_ann, tmp_path, capsys):
    coco = COCO(str(shapes_ann))
    results = guesses(coco)
    outcome, tables = {}, {}
    for kind in ('CocoMetric', 'FasterCocoMetric'):
        options = dict(ann_file=str(shapes_ann), metric=['bbox', 'segm'], classwise=True)
        with DefaultScope.overwrite_default_scope('mmdet'):
            metric = METRICS.build(dict(type=kind, outfile_prefix=str(tmp_path / kind), **options))
        metric.dataset_meta = dict(classes=[c['name'] for c in coco.dataset['categories']])
        with faster_coco.record_evaluations() as evaluations:
            outcome[kind] = metric.compute_metrics(as_mmdet(coco, results))
        assert [e.params.iouType for e in evaluations] == ['bbox', 'segm']
        fast = [isinstance(e, faster_coco.evaluator_class()) for e in evaluations]
        assert fast == [kind == 'FasterCocoMetric'] * 2
        tables[kind] = [coco_scores.per_class(e) for e in evaluations]
    assert outcome['CocoMetric'] == outcome['FasterCocoMetric']
    assert tables['CocoMetric'] == tables['FasterCocoMetric']
    # mmdet's own table holds the last metric's, rounded.
    for name, row in tables['CocoMetric'][1].items():
        assert row['AP'] == pytest.approx(outcome['CocoMetric'][f'{name}_precision'], abs=1e-3)
    assert json.loads((tmp_path / 'FasterCocoMetric.segm.json').read_text()) == json.loads(
        (tmp_path / 'CocoMetric.segm.json').read_text()
    )
    from mmdet.evaluation.metrics import coco_metric

    assert not issubclass(coco_metric.COCOeval, faster_coco.evaluator_class())


def test_a_class_without_objects_has_no_ap(shapes_ann):
    coco = COCO(str(shapes_ann))
    results = guesses(coco)
    run = evaluate(faster_coco.evaluator_class(), shapes_ann, results, 'bbox')
    run.cocoGt.cats[99] = dict(id=99, name='ghost')
    run.params.catIds = [*run.params.catIds, 99]
    precision = run.eval['precision']
    shape = (*precision.shape[:2], 1, *precision.shape[3:])
    run.eval['precision'] = np.concatenate([precision, np.full(shape, -1.0)], 2)
    table = coco_scores.per_class(run)
    assert set(table['ghost'].values()) == {None}
    assert table['circle']['AP'] > 0


def test_an_object_with_the_id_0_is_found(shapes_ann, tmp_path):
    """pycocotools and faster-coco-eval take 0 for "no match"."""
    content = json.loads(shapes_ann.read_text())
    for n, a in enumerate(content['annotations']):
        a['id'] = n
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    results = [
        {k: a[k] for k in ('image_id', 'category_id', 'bbox')} | {'score': 0.9}
        for a in content['annotations']
    ]
    truth = COCO(str(path))
    run = faster_coco.evaluator_class()(truth, truth.loadRes(results), 'bbox')
    run.evaluate()
    run.accumulate()
    run.summarize()
    assert run.stats[0] == 1


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(faster_coco, 'find_spec', lambda name: None)
    evaluators = [dict(type='CocoMetric')]
    with pytest.raises(UserError, match=r"pip install 'selnext_mm\[fast-eval\]'"):
        faster_coco.use_faster_coco(evaluators)
    assert evaluators == [dict(type='CocoMetric')]


def test_the_switch_changes_only_coco_metrics():
    evaluators = [dict(type='mmdet.CocoMetric', metric='bbox'), dict(type='VOCMetric')]
    assert faster_coco.use_faster_coco(evaluators) == 1
    assert evaluators == [dict(type='FasterCocoMetric', metric='bbox'), dict(type='VOCMetric')]
