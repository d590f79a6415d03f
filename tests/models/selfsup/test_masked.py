"""A backbone on the visible part of its images is what a sparse network computes there."""

import pytest
import torch
from torch.testing import assert_close

from selnext_mm.models import SELNeXt
from selnext_mm.models.attention import CBAM, SELN
from selnext_mm.models.selfsup.masked import (
    check_maskable,
    masked_forward,
    random_visible,
    resize_mask,
)

CONVNEXT = dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6))
GATES = {
    'SELN': {},
    'SE': dict(attention_cfg=dict(type='SqueezeExcitation', reduction=4)),
    'GRN': dict(attention_cfg=dict(type='GlobalResponseNorm')),
    'GCT': dict(attention_cfg=dict(type='GatedChannelTransformation')),
    'ECA': dict(attention_cfg=dict(type='EfficientChannelAttention')),
    'ConvNeXt': CONVNEXT,
    'convolutions': dict(linear_pw_conv=False),
    'checkpointing': dict(with_cp=True),
}


def small(**kwargs):
    arch = dict(depths=(1, 1, 2, 1), channels=(16, 24, 32, 40))
    options = dict(
        arch=arch,
        layer_scale_init_value=0.5,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
    )
    model = SELNeXt(**{**options, **kwargs})
    torch.manual_seed(0)
    for parameter in model.parameters():  # no bias and no gate at its start, which hides mistakes
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    return model.double()


def images(count, side):
    return torch.randn(count, 3, side, side, dtype=torch.float64)


@pytest.mark.parametrize('name', GATES)
def test_a_visible_rectangle_is_what_the_crop_gives(name):
    model, x = small(**GATES[name]), images(2, 128)
    visible = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    visible[:, :, 1:3, 1:4] = 1
    crop = x[:, :, 32:96, 32:128].clone().requires_grad_()
    maps = masked_forward(model, x.requires_grad_(), visible)
    assert len(maps) == 4
    for whole, part, stride in zip(maps, model(crop), (4, 8, 16, 32), strict=True):
        top, bottom, left = 32 // stride, 96 // stride, 32 // stride
        assert_close(whole[:, :, top:bottom, left:], part)
        hidden = resize_mask(visible, whole.shape[2:]) == 0
        assert not whole.masked_select(hidden).any()


@pytest.mark.parametrize('patch', [8, 16, 32])
@pytest.mark.parametrize('name', ['SELN', 'GRN', 'ConvNeXt'])
def test_hidden_pixels_have_no_influence_also_in_cells_smaller_than_the_stride(name, patch):
    model, x = small(**GATES[name]), images(3, 64)
    visible = random_visible(3, (64 // patch,) * 2, 0.6, x.device).double()
    other = torch.where(resize_mask(visible, (64, 64)) == 1, x, 100 * images(3, 64))
    for one, two in zip(
        masked_forward(model, x, visible), masked_forward(model, other, visible), strict=True
    ):
        assert torch.equal(one, two)
        assert one.abs().sum() > 0


@pytest.mark.parametrize('name', GATES)
def test_all_visible_is_the_backbone_itself(name):
    model, x = small(**GATES[name]), images(2, 64)
    maps = masked_forward(model, x, torch.ones(2, 1, 4, 4, dtype=torch.float64))
    for ours, plain in zip(maps, model(x), strict=True):
        assert_close(ours, plain)


@pytest.mark.parametrize('data_format', ['channels_last', 'channels_first'])
def test_the_gates_mean_is_over_the_visible_positions(data_format):
    gate, x = SELN(16, data_format=data_format).double(), torch.randn(3, 16, 6, 6).double()
    visible = random_visible(3, (6, 6), 0.7, x.device).double()
    expected = torch.stack(
        [row[:, keep[0] == 1].mean(1) for row, keep in zip(x, visible, strict=True)]
    )
    if data_format == 'channels_last':
        x, visible = x.permute(0, 2, 3, 1), visible.permute(0, 2, 3, 1)
    assert_close(gate.squeeze_visible(x, visible), expected)


def test_a_position_of_a_smaller_map_is_visible_if_a_part_of_it_is():
    visible = torch.tensor([[0.0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])[None, None]
    assert resize_mask(visible, (2, 2)).tolist() == [[[[0, 1], [1, 0]]]]
    assert torch.equal(resize_mask(visible, (8, 8))[0, 0, ::2, ::2], visible[0, 0])


@pytest.mark.parametrize(
    ('grid', 'ratio', 'hidden'),
    [((7, 7), 0.6, 29), ((4, 4), 0.6, 10), ((2, 2), 0.01, 1), ((2, 2), 0.99, 3)],
)
def test_masks_hide_the_share_asked_for_and_differ(grid, ratio, hidden):
    torch.manual_seed(0)
    visible = random_visible(200, grid, ratio, torch.device('cpu'))
    assert visible.shape == (200, 1, *grid)
    assert (visible == 0).sum((1, 2, 3)).unique().tolist() == [hidden]
    shares = visible.mean(0).flatten()  # no cell is preferred
    assert (shares - shares.mean()).abs().max() < 0.15
    assert len({tuple(row.flatten().tolist()) for row in visible}) > 1


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: torch.nn.Linear(2, 2), 'backbone Linear: masked pretraining knows SELNeXt'),
        (lambda: small(gap_before_final_norm=True), 'set it to False in the backbone'),
        (
            lambda: small(attention_cfg=dict(type='CBAM')),
            'attention_cfg type CBAM cannot leave out hidden positions; use SELN',
        ),
    ],
)
def test_what_cannot_be_masked_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        check_maskable(make())
    assert CBAM  # registered by its import
