"""Precisions, memory layouts, batches and derivatives of our operators."""

import pytest
import torch

import selnext_mm.mmcv_ext.maps as maps_module
from selnext_mm.mmcv_ext import nms as nms_module
from tests.mmcv_ext.cases import generator, rois

HALVES = {torch.float16: 1e-3, torch.bfloat16: 8e-3}


def case(kind='inside', channels=4, images=2):
    random = generator(kind)
    return torch.randn(images, channels, 9, 12), rois(random, kind, images, 36, 48)


def pooled(ops, x, boxes, mode='avg', ratio=0):
    return ops.roi_align(x, boxes, (3, 2), 0.25, ratio, mode, True)


def convolved(ops, x, offset, mask, weight):
    return ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)


def convolution(channels=4, size=(5, 6)):
    return (
        torch.randn(2, channels, *size),
        torch.randn(2, 18, *size),
        torch.rand(2, 9, *size),
        torch.randn(3, channels, 3, 3),
    )


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_maps_of_any_layout_are_read_as_they_are(ops, mode):
    x, boxes = case()
    wanted = pooled(ops, x, boxes, mode)
    for other in (
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
        torch.cat([x, x], 1)[:, :4],
    ):
        leaf = other.clone(memory_format=torch.preserve_format).requires_grad_()
        out = pooled(ops, leaf, boxes, mode)
        torch.testing.assert_close(out, wanted)
        (grad,) = torch.autograd.grad(out.square().sum(), leaf)
        flat = x.clone().requires_grad_()
        (plain,) = torch.autograd.grad(pooled(ops, flat, boxes, mode).square().sum(), flat)
        torch.testing.assert_close(grad, plain)


def test_convolutions_read_channels_last_maps(ops):
    x, *others = convolution()
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(convolved(ops, last, *others), convolved(ops, x, *others))


@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_is_rounded_once(ops, dtype):
    """The result is that of the same numbers in float32, rounded."""
    x, boxes = case()
    half = x.to(dtype).requires_grad_()
    out = pooled(ops, half, boxes.to(dtype))
    wanted = pooled(ops, x.to(dtype).float(), boxes.to(dtype).float())
    assert out.dtype == dtype
    assert torch.equal(out, wanted.to(dtype))
    (grad,) = torch.autograd.grad(out.sum(), half)
    assert grad.dtype == dtype
    assert grad.isfinite().all()
    out = convolved(ops, *(t.to(dtype) for t in convolution()))
    assert out.dtype == dtype
    dets = torch.rand(50, 4)
    dets[:, 2:] += dets[:, :2]
    scores = torch.rand(50).to(dtype)
    _, kept = ops.nms(dets.to(dtype), scores, 0.4)
    _, exact = ops.nms(dets.to(dtype).float(), scores.float(), 0.4)
    assert torch.equal(kept, exact)


@pytest.mark.parametrize('dtype', HALVES)
def test_autocast_leaves_the_operators_alone(ops, dtype):
    x, boxes = case()
    tensors = convolution()
    with torch.autocast('cpu', dtype=dtype):
        found = pooled(ops, x, boxes), convolved(ops, *tensors)
    assert torch.equal(found[0], pooled(ops, x, boxes))
    assert torch.equal(found[1], convolved(ops, *tensors))
    # Features of half precision with boxes of float32.
    with torch.autocast('cpu', dtype=dtype):
        out = pooled(ops, x.to(dtype), boxes)
    assert (out.float() - found[0]).abs().max() < HALVES[dtype] * 2 * x.abs().max()


def test_the_images_of_a_batch_do_not_mix(ops):
    x, boxes = case(images=3)
    for image in range(3):
        mine = boxes[:, 0] == image
        alone = boxes[mine].clone()
        alone[:, 0] = 0
        torch.testing.assert_close(
            pooled(ops, x, boxes)[mine], pooled(ops, x[image : image + 1], alone)
        )


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_no_boxes(ops, mode):
    x = torch.randn(2, 4, 9, 12, requires_grad=True)
    out = pooled(ops, x, torch.zeros(0, 5), mode)
    assert out.shape == (0, 4, 3, 2)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert grad.shape == x.shape
    assert not grad.any()
    dets, kept = ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.long


def test_a_box_outside_of_the_image_gives_0(ops):
    x = torch.randn(1, 4, 9, 12, requires_grad=True)
    out = pooled(ops, x, torch.tensor([[0.0, 900.0, 900.0, 990.0, 990.0]]))
    assert not out.any()
    assert not torch.autograd.grad(out.sum(), x)[0].any()


@pytest.mark.parametrize('box', [(30.0, 8.0, 8.0, 30.0), (0.0, 0.0, float('nan'), 8.0)])
def test_a_box_of_negative_or_undefined_size_is_an_error(ops, box):
    rows = torch.tensor([[0.0, 1.0, 1.0, 9.0, 9.0], [0.0, *box]])
    with pytest.raises(RuntimeError, match='box 1 of 2 has a negative or undefined size'):
        pooled(ops, torch.randn(1, 4, 9, 12), rows)


@pytest.mark.parametrize('channels', [1, 4])
def test_windows_one_by_one_or_all_at_once(ops, monkeypatch, channels):
    x, boxes = case(channels=channels)
    found = []
    for sparse in (True, False):
        monkeypatch.setattr(maps_module, 'is_sparse', lambda *_, sparse=sparse: sparse)
        leaf = x.clone().requires_grad_()
        out = pooled(ops, leaf, boxes)
        found.append((out, *torch.autograd.grad(out.square().sum(), leaf)))
    for one, all_at_once in zip(*found, strict=True):
        torch.testing.assert_close(one, all_at_once)


@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('kind', ['inside', 'outside'])
def test_gradients_of_roi_align(ops, kind, mode, ratio):
    x, boxes = case(kind, channels=2)
    x = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: pooled(ops, t, boxes.double(), mode, ratio), x)


def test_gradients_of_roi_pool(ops):
    x, boxes = case(channels=2)
    x = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: ops.roi_pool(t, boxes.double(), (3, 2), 0.25), x)


@pytest.mark.slow
def test_gradients_of_deformable_convolutions(ops):
    x, offset, mask, weight = (t.double().requires_grad_() for t in convolution(2, (3, 4)))
    bias = torch.randn(3, dtype=torch.double, requires_grad=True)

    def modulated(*tensors):
        return ops.modulated_deform_conv2d(*tensors, 1, 1)

    assert torch.autograd.gradcheck(modulated, (x, offset, mask, weight, bias))
    assert torch.autograd.gradcheck(
        lambda *tensors: ops.deform_conv2d(*tensors, 1, 1), (x, offset, weight)
    )


def test_gradients_of_multi_scale_attention(ops):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes, starts = torch.tensor([[3, 4], [2, 2]]), torch.tensor([0, 12])
    leaves = [
        t.double().requires_grad_()
        for t in (torch.randn(1, 16, 2, 3), torch.rand(1, 3, 2, 2, 2, 2), torch.rand(1, 3, 2, 2, 2))
    ]
    assert torch.autograd.gradcheck(
        lambda v, at, w: MultiScaleDeformableAttnFunction.apply(v, shapes, starts, at, w, 64),
        leaves,
    )


def test_blocks_of_nms_do_not_show(monkeypatch):
    """Boxes that suppress each other in a chain: every second one is kept."""
    at = torch.arange(40.0)[:, None]
    boxes = torch.cat([at, torch.zeros(40, 1), at + 2, torch.ones(40, 1)], 1)
    for block in (1, 3, 16, 64):
        monkeypatch.setattr(nms_module, 'BLOCK', block)
        kept = nms_module.sorted_nms(boxes, torch.arange(40), 0.3, 0)
        assert kept.tolist() == list(range(0, 40, 2))
