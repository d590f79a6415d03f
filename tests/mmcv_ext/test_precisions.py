"""Half precision, autocast, layouts and empty inputs of operators that few models use."""

import pytest
import torch

from tests.mmcv_ext.calls import slopes
from tests.mmcv_ext.cases import generator, rois, tensor

HALVES = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # about two roundings
SIZES, STARTS, TARGET = torch.tensor([[3, 4], [2, 2]]), torch.tensor([0, 12]), torch.arange(8) % 5
BOXES = rois(generator('precisions'), 'whole', 2, 36, 48)  # whole numbers, exact in each dtype


def attend(ops, value, places, weights):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    return MultiScaleDeformableAttnFunction.apply(value, SIZES, STARTS, places, weights, 64)


# (call, shapes of its tensors)
CASES = {
    'roi_pool': (
        lambda ops, maps: ops.roi_pool(maps, BOXES.to(maps.dtype), (3, 2), 0.25),
        [(2, 3, 9, 12)],
    ),
    'deform_conv': (
        lambda ops, maps, offset, weight: ops.deform_conv2d(maps, offset, weight, 1, 1),
        [(2, 4, 5, 6), (2, 18, 5, 6), (3, 4, 3, 3)],
    ),
    'sigmoid_focal_loss': (
        lambda ops, scores: ops.sigmoid_focal_loss(scores, TARGET, 2.0, 0.25, None, 'sum'),
        [(8, 5)],
    ),
    'softmax_focal_loss': (
        lambda ops, scores: ops.softmax_focal_loss(scores, TARGET, 2.0, 0.25, None, 'sum'),
        [(8, 5)],
    ),
    'ms_deform_attn': (attend, [(2, 16, 2, 3), (2, 5, 2, 2, 2, 2), (2, 5, 2, 2, 2)]),
}
MAPS = ('roi_pool', 'deform_conv')


def case(name):
    call, shapes = CASES[name]
    random = generator(name)
    draw = random.rand if name == 'ms_deform_attn' else random.randn  # places are within a map
    return call, [tensor(draw(*shape)) for shape in shapes]


def both_passes(ops, call, tensors):
    """The output, and the gradients of it with another weight for each place."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    out = call(ops, *leaves)
    return [out, *torch.autograd.grad(out, leaves, slopes(out).to(out.dtype) + 2)]


def assert_near(found, wanted, dtype, limit):
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        assert b.any(), 'zeros would show nothing'
        assert (a.float() - b).abs().max() <= limit * b.abs().max()


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('name', CASES)
def test_half_precision_gives_the_result_of_float32(ops, name, dtype):
    call, tensors = case(name)
    tensors = [t.to(dtype) for t in tensors]
    wanted = both_passes(ops, call, [t.float() for t in tensors])
    assert_near(both_passes(ops, call, tensors), wanted, dtype, HALVES[dtype])


@pytest.mark.parametrize('name', MAPS)
def test_maps_may_be_channels_last(ops, name):
    call, (maps, *others) = case(name)
    last = maps.contiguous(memory_format=torch.channels_last)
    wanted = both_passes(ops, call, [maps, *others])
    assert_near(both_passes(ops, call, [last, *others]), wanted, torch.float32, 1e-6)


@pytest.mark.parametrize('dtype', HALVES)
def test_autocast_leaves_deform_conv_in_float32(ops, dtype):
    call, tensors = case('deform_conv')
    with torch.autocast('cpu', dtype=dtype):
        found = both_passes(ops, call, tensors)
    assert_near(found, both_passes(ops, call, tensors), torch.float32, 1e-6)


def test_no_boxes(ops):
    maps = torch.randn(2, 3, 9, 12, requires_grad=True)
    out = ops.roi_pool(maps, torch.zeros(0, 5), (3, 2), 0.25)
    assert out.shape == (0, 3, 3, 2)
    (grad,) = torch.autograd.grad(out.sum(), maps)
    assert grad.shape == maps.shape
    assert not grad.any()
    for method in ('naive', 'linear', 'gaussian'):
        dets, kept = ops.soft_nms(torch.zeros(0, 4), torch.zeros(0), 0.3, method=method)
        assert dets.shape == (0, 5)
        assert kept.shape == (0,)
        assert kept.dtype == torch.long


@pytest.mark.parametrize('gamma', [0.5, 2.0])
@pytest.mark.parametrize('name', ['sigmoid_focal_loss', 'softmax_focal_loss'])
def test_gradients_of_focal_losses(ops, name, gamma):
    _, (scores,) = case(name)
    weight = torch.linspace(0.5, 1.5, 5, dtype=torch.double)
    target = torch.where(TARGET == 4, -1, TARGET)  # background
    assert torch.autograd.gradcheck(
        lambda scores: getattr(ops, name)(scores, target, gamma, 0.3, weight, 'sum'),
        scores.double().requires_grad_(),
    )
