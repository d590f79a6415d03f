"""Operators that the compiled module lacks on a CPU, against their definitions."""

import pytest
import torch

from tests.oracles import mmcv_ext as oracles


def close(a, b, limit=1e-5):
    assert a.shape == b.shape
    assert (a - b).abs().max() <= limit * b.abs().max()


def gradient(out, *leaves):
    return torch.autograd.grad(out, leaves, torch.linspace(-1, 1, out.numel()).view_as(out))


@pytest.mark.parametrize('size', [(1, 1), (7, 7), (2, 5)])
@pytest.mark.parametrize('scale', [1.0, 0.25, 0.3])
def test_roi_pool(ops, size, scale):
    maps = torch.randn(2, 3, 11, 13, requires_grad=True)
    middle = torch.rand(9, 2) * 16 / scale - 2
    extent = torch.rand(9, 2) * 12 / scale
    rois = torch.cat([torch.randint(0, 2, (9, 1)), middle - extent / 2, middle + extent / 2], 1)
    rois[0, 1:] = torch.tensor([200.0, 200.0, 300.0, 300.0])  # outside
    rois[1, 3:] = rois[1, 1:3] - 30  # turned around
    out, wanted = ops.roi_pool(maps, rois, size, scale), oracles.roi_pool(maps, rois, size, scale)
    assert torch.equal(out, wanted)
    assert not out[:2].any()
    close(*gradient(out, maps), *gradient(wanted, maps))


def test_roi_pool_gives_the_gradient_to_the_first_of_equal_values(ops):
    maps = torch.zeros(1, 1, 4, 4, requires_grad=True)
    roi = torch.tensor([[0.0, 0.0, 0.0, 3.0, 3.0]])
    (found,) = torch.autograd.grad(ops.roi_pool(maps, roi, 2, 1.0).sum(), maps)
    assert found.nonzero()[:, 2:].tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]


@pytest.mark.parametrize('gamma', [0.5, 2.0])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('name', ['sigmoid_focal_loss', 'softmax_focal_loss'])
def test_focal_losses(ops, name, gamma, weighted):
    scores = (torch.randn(12, 5, dtype=torch.double) * 3).requires_grad_()
    target = torch.arange(12) % 6  # 5 is background
    weight = torch.rand(5, dtype=torch.double) + 0.5 if weighted else None
    if name == 'softmax_focal_loss':
        target[target == 5] = -1
    found = getattr(ops, name)(scores, target, gamma, 0.3, weight, 'sum')
    wanted = getattr(oracles, name)(scores, target, gamma, 0.3, weight).sum()
    close(found, wanted, 1e-12)
    close(*(torch.autograd.grad(loss, scores)[0] for loss in (found, wanted)), 1e-10)


def test_focal_losses_of_sure_scores_are_finite(ops):
    scores = torch.tensor([[200.0, -200.0]], requires_grad=True)
    for name in ('sigmoid_focal_loss', 'softmax_focal_loss'):
        for target in (0, 1):
            loss = getattr(ops, name)(scores, torch.tensor([target]), 2.0, 0.25, None, 'sum')
            assert loss.isfinite()
            assert torch.autograd.grad(loss, scores)[0].isfinite().all()


@pytest.mark.parametrize('reach', [0.5, 3.0])
def test_multi_scale_deformable_attention(ops, reach):
    """Against mmcv's own composition of grid_sample, which it uses on a CPU."""
    from mmcv.ops import multi_scale_deform_attn as module

    shapes = torch.tensor([[6, 5], [3, 4], [1, 2]])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), shapes.prod(1).cumsum(0)[:-1]])
    value = torch.randn(2, int(shapes.prod(1).sum()), 3, 4)
    locations = (torch.rand(2, 7, 3, 3, 2, 2) - 0.5) * reach + 0.5
    weights = torch.rand(2, 7, 3, 3, 2)
    leaves = [t.requires_grad_() for t in (value, locations, weights)]
    found = module.MultiScaleDeformableAttnFunction.apply(value, shapes, starts, *leaves[1:], 64)
    wanted = module.multi_scale_deformable_attn_pytorch(value, shapes, *leaves[1:])
    close(found, wanted)
    for pair in zip(gradient(found, *leaves), gradient(wanted, *leaves), strict=True):
        close(*pair, 1e-4)
