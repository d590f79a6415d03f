import pickle

import numpy as np
import pytest
import torch

from selnext_mm.evaluation.empty_results import evaluate_empty_results

mmdet_metrics = pytest.importorskip('mmdet.evaluation')


def evaluate(ann_file, classes, detections):
    """Metrics of a CocoMetric over two images; detections: number of boxes in the first."""
    from mmengine.evaluator import Evaluator

    evaluator = Evaluator(mmdet_metrics.CocoMetric(str(ann_file), metric=['bbox', 'segm']))
    evaluator.dataset_meta = dict(classes=classes)
    evaluate_empty_results(evaluator)
    (metric,) = evaluator.metrics
    api = metric._coco_api
    images = list(api.imgs.values())[:2]
    for i, image in enumerate(images):
        n = detections if i == 0 else 0
        height, width = image['height'], image['width']
        truth = [api.anns[a] for a in api.getAnnIds(imgIds=[image['id']])][:n]
        boxes = torch.tensor([a['bbox'] for a in truth]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = torch.stack([torch.from_numpy(api.annToMask(a)) for a in truth]) if n else None
        evaluator.process(
            data_samples=[
                dict(
                    img_id=image['id'],
                    ori_shape=(height, width),
                    pred_instances=dict(
                        bboxes=boxes,
                        scores=torch.ones(len(truth)),
                        labels=torch.tensor([a['category_id'] - 1 for a in truth]),
                        masks=masks.bool() if n else torch.zeros(0, height, width).bool(),
                    ),
                )
            ]
        )
    return evaluator.evaluate(2)


@pytest.fixture
def truth(shapes_root):
    import json

    file = shapes_root / 'annotations' / 'instances_val2017.json'
    return file, [c['name'] for c in json.loads(file.read_text())['categories']]


def test_no_prediction_is_a_table_of_zeros(truth, capfd):
    metrics = evaluate(*truth, detections=0)
    assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 0
    assert 'Average Precision' in capfd.readouterr().out


def test_predictions_are_counted_as_before(truth):
    metrics = evaluate(*truth, detections=1)
    assert metrics['coco/bbox_mAP'] > 0
    assert metrics['coco/segm_mAP'] > 0


def test_the_data_set_of_a_metric_can_go_to_other_processes(truth):
    """As with use_mp_eval, which pickles the COCO object."""
    from mmengine.evaluator import Evaluator

    evaluator = Evaluator(mmdet_metrics.CocoMetric(str(truth[0])))
    evaluate_empty_results(evaluator)
    api = pickle.loads(pickle.dumps(evaluator.metrics[0]._coco_api))
    assert api.loadRes([]).dataset['annotations'] == []


def test_recall_of_images_with_different_numbers_of_boxes():
    """proposal_fast: mmdet makes one array of lists that are not equally long."""
    boxes = np.array([[0.0, 0, 9, 9], [10, 10, 19, 19], [30, 30, 39, 39]])
    scored = np.hstack([boxes, np.ones((3, 1))])
    recalls = mmdet_metrics.eval_recalls(
        [boxes[:2], boxes[:1]], [scored[:1], scored], proposal_nums=(10,), iou_thrs=0.5
    )
    assert recalls.shape == (1, 1)
    assert recalls[0, 0] == pytest.approx(2 / 3)
