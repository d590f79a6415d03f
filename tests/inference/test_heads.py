"""Detectors with channels-last heads find what they found before."""

import copy
import sys

import pytest
import torch
from mmdet.structures import DetDataSample

from selnext_mm.inference.heads import use_channels_last
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
    assert use_channels_last(other) == KINDS[kind]
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


def test_not_where_roi_align_misreads_them(tmp_path, monkeypatch):
    """mmcv's compiled operators expect contiguous maps."""
    model = save_detector(tmp_path, 'mask_rcnn').model
    monkeypatch.setitem(sys.modules, 'mmcv._ext', type(sys)('mmcv._ext'))
    assert use_channels_last(model) == []
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    assert use_channels_last(model) == []
