"""IoU thresholds and numbers of detections that a COCO metric is given."""

import json
import logging
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger

from selnext_mm.evaluation.faster_coco import FasterCocoMetric
from selnext_mm.evaluation.own_thresholds import by_threshold, take_own_thresholds

mmdet_metrics = pytest.importorskip('mmdet.evaluation')


@pytest.mark.parametrize('given', [[0.75], (0.25, 0.75), 0.8])
def test_iou_thresholds_of_ones_own_become_an_array(given):
    metric = SimpleNamespace(iou_thrs=given)
    take_own_thresholds(SimpleNamespace(metrics=[metric]))
    assert metric.iou_thrs.tolist() == (list(given) if isinstance(given, list | tuple) else [given])


def test_thresholds_of_other_metrics_stay_lists():
    """VOCMetric asks for a list; pycocotools compares an array with numbers."""
    voc, coco = mmdet_metrics.VOCMetric(iou_thrs=[0.5]), mmdet_metrics.CocoMetric(iou_thrs=[0.5])
    take_own_thresholds(Evaluator([voc, coco]))
    assert isinstance(voc.iou_thrs, list)
    assert isinstance(coco.iou_thrs, np.ndarray)


def test_what_arange_gives_is_rounded():
    metric = SimpleNamespace(iou_thrs=np.arange(0.5, 1, 0.05).tolist())
    take_own_thresholds(SimpleNamespace(metrics=[metric]))
    assert 0.75 in metric.iou_thrs


def test_places_of_a_precision_are_those_of_its_thresholds():
    precision = np.random.default_rng(0).random((3, 101, 2, 4, 3))
    named = by_threshold(precision, [0.25, 0.75, 0.5])
    assert np.array_equal(named[0, :, 1, 0, -1], precision[2, :, 1, 0, -1])
    assert np.array_equal(named[5, :, 1, 0, -1], precision[1, :, 1, 0, -1])
    assert (by_threshold(precision, [0.2, 0.3, 0.4])[0, :, 1, 0, -1] == -1).all()
    for key in ((slice(None), slice(None), 1, 0, -1), (..., -1), (1, 0)):
        assert np.array_equal(named[key], precision[key])
        assert type(named[key]) is not type(named)


@contextmanager
def logged():
    """The messages of mmengine's logger meanwhile."""
    lines, handler, logger = [], logging.Handler(), MMLogger.get_current_instance()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def table(ann_file, fast, **arguments):
    """Class -> columns of the table that is logged for boxes that are all a little off."""
    content = json.loads(ann_file.read_text())
    kind = mmdet_metrics.CocoMetric
    if fast:
        pytest.importorskip('faster_coco_eval')
        kind = FasterCocoMetric
    evaluator = Evaluator(kind(ann_file=str(ann_file), metric='bbox', classwise=True, **arguments))
    evaluator.dataset_meta = dict(classes=[c['name'] for c in content['categories']])
    take_own_thresholds(evaluator)
    for image in content['images']:
        truth = [a for a in content['annotations'] if a['image_id'] == image['id']]
        boxes = torch.tensor([a['bbox'] for a in truth], dtype=torch.float).reshape(-1, 4)
        boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:] * 0.8  # IoU 0.64
        found = dict(
            bboxes=boxes,
            scores=torch.ones(len(truth)),
            labels=torch.tensor([a['category_id'] - 1 for a in truth], dtype=torch.long),
        )
        size = (image['height'], image['width'])
        sample = dict(img_id=image['id'], ori_shape=size, pred_instances=found)
        evaluator.process(data_samples=[sample])
    with logged() as lines:
        evaluator.evaluate(len(content['images']))
    rows = next(text for text in lines if 'mAP_75' in text).splitlines()
    cells = [[c.strip() for c in row.split('|')[1:-1]] for row in rows if row.startswith('|')]
    assert cells[0][1:4] == ['mAP', 'mAP_50', 'mAP_75']
    return {row[0]: row[1:4] for row in cells[1:]}


@pytest.mark.parametrize('fast', [False, True])
@pytest.mark.parametrize(
    ('thresholds', 'columns'),
    [
        (None, [1.0, 0.0]),
        ([0.75], ['nan', 0.0]),
        ([0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.7, 0.75], [1.0, 0.0]),
        ([0.3, 0.4, 0.5, 0.55, 0.6, 0.62], [1.0, 'nan']),
        ([0.8], ['nan', 'nan']),
    ],
)
def test_columns_of_the_classes_are_what_their_heads_say(annotations, fast, thresholds, columns):
    """It was an IndexError, or the AP of the sixth threshold under the name of 0.75."""
    found = table(annotations, fast, iou_thrs=thresholds)
    for row in found.values():
        assert [float(v) if v != 'nan' else v for v in row[1:]] == columns


def test_numbers_of_detections_without_the_one_of_map_are_told():
    with logged() as lines:
        for names in (['bbox'], ['proposal']):
            metric = SimpleNamespace(metrics=names, proposal_nums=(5, 20, 50))
            take_own_thresholds(SimpleNamespace(metrics=[metric]))
    (told,) = lines
    assert 'proposal_nums is (5, 20, 50): mAP' in told
