"""When the detections of a file count as those of PyTorch: pairs, ties, masks."""

import itertools

import numpy as np
import pytest
import torch

from selnext_mm.export.detection.check import Agreement

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmdet')


def item(label=0, score=0.5, bbox=(0, 0, 10, 10)):
    return dict(label=label, score=score, bbox=list(bbox))


@pytest.mark.parametrize(
    ('found', 'unmatched'),
    [
        ([item()], 0),
        ([item(score=0.50009)], 0),
        ([item(score=0.5002)], 2),
        ([item(label=1)], 2),
        ([item(bbox=(0, 0, 10, 9.8))], 2),
        ([item(), item()], 1),
        ([item(), item(score=0.05001)], 0),  # at the threshold a rounding decides
        ([], 1),
    ],
)
def test_agreement_pairs_objects(found, unmatched):
    agreement = Agreement()
    agreement.add([item()], found, 1e-4, 0.05, 100)
    assert agreement.unmatched == unmatched
    assert agreement.holds == (not unmatched)


@pytest.mark.parametrize(
    ('found', 'limit', 'ties', 'unmatched'),
    [
        ([], 100, 0, 1),
        ([item(label=1, score=0.50005)], 1, 2, 0),  # both lists are full and end there
        ([item(label=1, score=0.4)], 1, 1, 1),  # a list that ends with 0.4 would have had 0.5
        ([item(label=1, score=0.6)], 2, 0, 2),  # there was a place for it
    ],
)
def test_what_the_other_list_may_have_cut_off_is_a_tie(found, limit, ties, unmatched):
    agreement = Agreement()
    agreement.add([item()], found, 1e-4, 0.05, limit)
    assert (agreement.ties, agreement.unmatched) == (ties, unmatched)


@pytest.mark.parametrize(
    ('wanted', 'found', 'others', 'ties'),
    [
        ([item()], [], [[item()], []], 1),  # moved a little, the model lacks it, too
        ([item()], [], [[item()], [item()]], 0),  # it has it however it is moved
        ([], [item()], [[], [item()]], 1),
        ([], [item()], [[], [item(score=0.6)]], 0),  # another object is no proof
    ],
)
def test_what_the_model_itself_decides_either_way_is_a_tie(wanted, found, others, ties):
    agreement = Agreement()
    agreement.add(wanted, found, 1e-4, 0.05, 100, others)
    assert (agreement.ties, agreement.unmatched) == (ties, 1 - ties)
    assert agreement.holds == bool(ties)


def test_a_tie_of_the_suppression_is_proven_by_the_model(exported, pictures):
    """A threshold that is the IoU of two boxes to the last bit decides either way."""
    from selnext_mm.export.detection.ties import answers, suppressions
    from selnext_mm.inference import Predictor

    predictor = Predictor(exported.config, exported.checkpoint, device='cpu')
    path = next(p for p in sorted(pictures.rglob('*')) if p.is_file())
    configs = suppressions(predictor.loaded.model)
    assert [c['iou_threshold'] for c in configs] == [0.7, 0.5]
    configs[1]['iou_threshold'] = 0.999
    boxes = torch.tensor([i['bbox'] for i in predictor([path])[0]['instances'] if not i['label']])
    ious = mask_iou(boxes.numpy())
    # The largest of all: no other pair decides about these two.
    configs[1]['iou_threshold'] = tie = float(ious[ious < 0.9985].max())
    lower, higher = itertools.islice(answers(predictor, path), 2)
    assert [i['score'] for i in lower] != [i['score'] for i in higher], tie
    assert configs[1]['iou_threshold'] == tie, 'moved back'


def test_orders_of_equal_first_scores_are_shown_by_the_model(exported, pictures):
    """A uniform border gave a row of equal scores, and a sound file was refused for its order."""
    from selnext_mm.export.detection.ties import NOISE, ORDERS, answers, first_scores, noisy
    from selnext_mm.inference import Predictor

    predictor = Predictor(exported.config, exported.checkpoint, device='cpu')
    path = next(p for p in sorted(pictures.rglob('*')) if p.is_file())
    model = predictor.loaded.model
    layer = first_scores(model)
    assert layer is model.rpn_head.rpn_cls
    x = torch.zeros(1, layer.in_channels, 30, 40)
    plain = layer(x)
    with noisy(layer, 0):
        moved = (layer(x) - plain).abs()
    assert 0 < moved.max() <= 1.5 * NOISE
    assert moved.unique().numel() > 3, 'another order'
    assert torch.equal(layer(x), plain), 'the noise is gone'
    (record,) = predictor([path])
    found = list(answers(predictor, path))
    assert len(found) == 4 + ORDERS
    scores = [i['score'] for i in record['instances']]
    for instances in found[4:]:  # no ties in this image
        assert [i['score'] for i in instances] == pytest.approx(scores, abs=1e-5)


def mask_iou(boxes):
    from pycocotools import mask as mask_utils

    return np.asarray(mask_utils.iou(boxes, boxes, [0] * len(boxes)))


def test_agreement_takes_the_worst_mask():
    from pycocotools import mask as mask_utils

    def with_mask(rows):
        pixels = np.zeros((10, 10), np.uint8, order='F')
        pixels[:rows] = 1
        return item() | dict(segmentation=mask_utils.encode(pixels))

    agreement = Agreement()
    agreement.add([with_mask(10)], [with_mask(9)], 1e-4, 0.05, 100)
    assert agreement.mask_iou == pytest.approx(0.9)
    assert not agreement.holds


def test_masks_are_pasted_as_mmdet_pastes_them():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    from selnext_mm.runtime.masks import paste

    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(6, 28, 28, generator=generator)
    boxes = torch.tensor(
        [[2, 3, 30, 20], [0, 0, 40, 30], [5.3, 6.1, 5.9, 29.9], [-4, -4, 8, 9], [39, 29, 40, 30],
         [10, 10, 10, 20]], dtype=torch.float32)  # fmt: skip
    for mask, box in zip(masks, boxes, strict=True):
        # One at a time and within the box, as mmdet does it on a CPU.
        part, place = _do_paste_mask(mask[None, None], box[None], 30, 40, skip_empty=True)
        wanted = np.zeros((30, 40), dtype=bool)
        wanted[place] = part[0].numpy() >= 0.5
        got = paste(mask.numpy(), box.numpy(), 30, 40, 0.5)
        assert (got != wanted).mean() < 2e-3, box
