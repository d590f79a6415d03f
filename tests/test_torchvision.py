"""SELNeXt in torchvision's detectors."""

import inspect
import re
import sys

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from selnext_mm.errors import UserError
from selnext_mm.mmcv_ext.torchvision_ops import works
from selnext_mm.models import AttentionMobileNetV3, PATNet, SELNeXt
from selnext_mm.torchvision import with_fpn
from tests.repo.test_docs import PAGES

SMALL = dict(depths=[1, 1, 1, 1], channels=[16, 24, 32, 48])
SIZES = dict(min_size=96, max_size=128)


@pytest.fixture(autouse=True)
def _operators(monkeypatch):
    """A torchvision that was built for another torch has no NMS, and compiles its RoIAlign.

    The suppression here is plain, and the RoIAlign torchvision's own without the compiler.
    """
    if works('nms', 'cpu'):
        return
    import torchvision

    align = sys.modules['torchvision.ops.roi_align']
    monkeypatch.setattr(align, '_roi_align', inspect.unwrap(align._roi_align))

    def nms(boxes, scores, threshold):
        kept = []
        for i in scores.argsort(descending=True).tolist():
            others = boxes[kept]
            if not kept or torchvision.ops.box_iou(boxes[i][None], others).max() <= threshold:
                kept.append(i)
        return torch.tensor(kept, dtype=torch.int64)

    monkeypatch.setattr(torchvision.ops.boxes, 'nms', nms)


def scene():
    """One image with two bright boxes, and its labels as torchvision reads them."""
    image = torch.zeros(3, 96, 128)
    boxes = torch.tensor([[8.0, 8, 40, 40], [64, 30, 120, 90]])
    masks = torch.zeros(2, 96, 128, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        image[:, y1:y2, x1:x2] = 1
        mask[y1:y2, x1:x2] = 1
    return image, dict(boxes=boxes, labels=torch.tensor([1, 1]), masks=masks)


def test_what_has_no_convolution_is_no_backbone():
    with pytest.raises(UserError, match='Identity has no convolution'):
        with_fpn(torch.nn.Identity())


@pytest.mark.parametrize('kind', [FasterRCNN, MaskRCNN])
def test_detectors_train_and_predict(kind):
    backbone = SELNeXt(SMALL, out_indices=(0, 1, 2, 3))
    backbone.init_weights()
    detector = kind(
        with_fpn(backbone, out_channels=32),
        num_classes=2,
        rpn_post_nms_top_n_train=100,
        rpn_post_nms_top_n_test=50,
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=100,
        **SIZES,
    )
    image, target = scene()
    losses = detector([image], [target])
    assert {'loss_classifier', 'loss_box_reg', 'loss_objectness', 'loss_rpn_box_reg'} <= set(losses)
    assert ('loss_mask' in losses) == (kind is MaskRCNN)
    sum(losses.values()).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        (prediction,) = detector.eval()([image])
    assert prediction['boxes'].shape[1:] == (4,)
    assert ('masks' in prediction) == (kind is MaskRCNN)


@pytest.mark.parametrize('kind', [FasterRCNN, MaskRCNN])
def test_the_lines_of_the_documentation_train(kind):
    (block,) = (b for b in PAGES['elsewhere.md'] if 'import with_fpn' in b.text)
    # With a small network and small images, the last detector of the block or the one before.
    lines = block.text.replace("'tiny'", repr(SMALL)).replace('num_classes=91', '**OPTIONS')
    lines = lines if kind is MaskRCNN else re.sub('.* MaskRCNN\\(.*\n', '', lines)
    few = dict(rpn_pre_nms_top_n_train=20, box_batch_size_per_image=8)
    names = dict(OPTIONS=dict(num_classes=2, **few, **SIZES))
    exec(lines, names)
    assert type(names['detector']) is kind
    losses = names['detector']([scene()[0]], [scene()[1]])
    assert ('loss_mask' in losses) == (kind is MaskRCNN)
    sum(losses.values()).backward()
    assert names['backbone'].stages[0][0].pointwise_conv1.weight.grad.abs().sum() > 0


def test_pyramid_reads_the_normed_maps_of_the_backbone():
    backbone = SELNeXt(SMALL, out_indices=(0, 1, 2, 3)).eval()
    model = with_fpn(backbone, out_channels=8)
    assert isinstance(model, BackboneWithFPN)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        levels = model(x)
        maps = dict(zip('0123', backbone(x), strict=True))
        expected = model.fpn(maps)
    assert list(levels) == [*'0123', 'pool']
    assert [tuple(v.shape[2:]) for v in levels.values()] == [
        (16, 24), (8, 12), (4, 6), (2, 3), (1, 2),
    ]  # fmt: skip
    for name, level in levels.items():
        assert_close(level, expected[name], rtol=0, atol=0)


def test_retinanet_with_two_more_levels():
    backbone = SELNeXt(SMALL, out_indices=(1, 2, 3))
    pyramid = with_fpn(backbone, out_channels=16, extra_blocks=LastLevelP6P7(48, 16))
    anchors = AnchorGenerator(tuple((s,) for s in (32, 64, 128, 256, 512)), ((1.0,),) * 5)
    detector = RetinaNet(pyramid, num_classes=2, anchor_generator=anchors, **SIZES)
    losses = detector([scene()[0]], [scene()[1]])
    assert all(value.isfinite() for value in losses.values())


def test_other_backbones_and_modes():
    net = AttentionMobileNetV3(width_mult=0.25, out_indices=(0, 1, 2, 3))
    model = with_fpn(net, out_channels=8)
    assert net.training
    assert [layer[0].in_channels for layer in model.fpn.inner_blocks] == [8, 16, 32, 240]
    patnet = PATNet(SMALL, num_heads=6, out_indices=(0, 1, 2, 3))
    assert len(with_fpn(patnet, out_channels=8)(torch.rand(2, 3, 64, 64))) == 5


def test_a_backbone_that_gives_vectors_is_refused():
    with pytest.raises(UserError, match=r'SELNeXt gives vectors.*out_indices=\(0, 1, 2, 3\)'):
        with_fpn(SELNeXt(SMALL))
