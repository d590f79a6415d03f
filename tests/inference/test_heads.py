"""Detectors with heads in the form of a CPU find what they found before."""

import copy
import sys

import pytest
import torch
from mmdet.structures import DetDataSample

from selnext_mm.inference.heads import (
    PackedLinear,
    best_by_nms,
    pack_shared_layers,
    speed_up_heads,
    stop_nms_early,
    use_channels_last,
)
from tests.export.small_detectors import save_detector

KINDS = {
    'retinanet': ['neck', 'bbox_head'],
    'mask_rcnn': ['neck', 'rpn_head', 'roi_head'],
    'cascade_mask_rcnn': ['neck', 'rpn_head', 'roi_head'],
}


def find(model):
    torch.manual_seed(0)
    image = torch.randn(1, 3, 128, 160)
    shape = dict(img_shape=(128, 160), ori_shape=(128, 160), scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo=dict(shape, batch_input_shape=(128, 160)))
    with torch.no_grad():
        (result,) = model.predict(image, [sample])
    return result.pred_instances


@pytest.mark.parametrize('kind', KINDS)
def test_the_same_objects(kind, tmp_path):
    model = save_detector(tmp_path, kind).model.eval()
    other = copy.deepcopy(model)
    assert speed_up_heads(other)
    assert list(other.state_dict()) == list(model.state_dict())
    weights = [p for n, p in other.named_parameters() if p.dim() == 4 and 'backbone' not in n]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    before, after = find(model), find(other)
    assert len(before) > 0
    assert len(before) == len(after)
    torch.testing.assert_close(after.bboxes, before.bboxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(after.scores, before.scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(after.labels, before.labels)
    if 'masks' in before:
        assert (after.masks != before.masks).float().mean() < 1e-3


@pytest.mark.parametrize('name', ['neck', 'roi_head.mask_head'])
def test_not_with_parts_of_others(name, tmp_path):
    """A head that calls Tensor.view may fail on channels-last maps."""
    model = save_detector(tmp_path, 'mask_rcnn').model
    part = model.get_submodule(name)
    part.__class__ = type('Another', (type(part),), {})
    assert use_channels_last(model) == []
    part.__class__ = type(part).__base__
    assert use_channels_last(model) == KINDS['mask_rcnn']


def test_the_parts_that_change(tmp_path):
    for kind, layers in (('retinanet', 0), ('mask_rcnn', 2), ('cascade_mask_rcnn', 6)):
        model = save_detector(tmp_path / kind, kind).model
        assert use_channels_last(model) == KINDS[kind]
        assert pack_shared_layers(model) == layers
        assert pack_shared_layers(model) == layers, 'a second time it changes nothing'
        assert sum(isinstance(m, PackedLinear) for m in model.modules()) == layers
        assert stop_nms_early(model) == ['roi_head' if layers else 'bbox_head']
        assert stop_nms_early(model) == []


def test_a_packed_layer_follows_its_weights():
    layer = torch.nn.Linear(64, 32)
    packed, x = PackedLinear(layer), torch.randn(5, 64)
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(packed(x), layer(x))
            with torch.autocast('cpu', torch.bfloat16):
                assert packed(x).dtype == torch.bfloat16
            layer.weight.mul_(2)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), layer(x))
    packed(x).sum().backward()
    assert layer.weight.grad is not None
    assert packed.state_dict().keys() == layer.state_dict().keys()


@pytest.mark.parametrize('most', [1, 7, 100, 3000])
@pytest.mark.parametrize('classes', [1, 20])
def test_nms_that_stops_early_keeps_the_same(most, classes):
    from mmcv.ops.nms import batched_nms

    torch.manual_seed(most)
    corners = torch.rand(2000, 2) * 100
    boxes = torch.cat([corners, corners + 5 + torch.rand(2000, 2) * 60], 1)
    scores, labels = torch.rand(2000), torch.randint(0, classes, (2000,))
    asked = dict(type='nms', iou_threshold=0.5)
    for split in (10000, 100):  # all classes together, and one after the other
        before, kept = batched_nms(boxes, scores, labels, dict(asked, split_thr=split))
        early = dict(asked, type=best_by_nms, max_num=most, split_thr=sys.maxsize)
        after, kept_early = batched_nms(boxes, scores, labels, early)
        assert torch.equal(kept_early, kept[:most])
        assert torch.equal(after, before[:most])


def test_no_boxes():
    found, kept = best_by_nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 10)
    assert (found.shape, kept.shape) == ((0, 5), (0,))


@pytest.mark.parametrize(
    'changes',
    [dict(nms=dict(type='soft_nms', iou_threshold=0.5)), dict(max_per_img=-1), dict(nms=None)],
)
def test_another_nms_stays(changes, tmp_path):
    model = save_detector(tmp_path, 'mask_rcnn').model
    model.roi_head.test_cfg.update(changes)
    before = copy.deepcopy(model.roi_head.test_cfg)
    assert stop_nms_early(model) == []
    assert model.roi_head.test_cfg == before


def test_the_config_stays_as_it_is(tmp_path):
    model = save_detector(tmp_path, 'mask_rcnn').model
    cfg, before = model.roi_head.test_cfg, copy.deepcopy(model.roi_head.test_cfg)
    assert stop_nms_early(model) == ['roi_head']
    assert cfg == before


def test_not_where_roi_align_misreads_them(tmp_path, monkeypatch):
    """mmcv's compiled operators expect contiguous maps."""
    model = save_detector(tmp_path, 'mask_rcnn').model
    monkeypatch.setitem(sys.modules, 'mmcv._ext', type(sys)('mmcv._ext'))
    assert use_channels_last(model) == []
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    assert use_channels_last(model) == []
