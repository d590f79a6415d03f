"""A SELNeXt that sees a part of its image: the mask is applied again after every mixing layer."""

import inspect

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.models.backbones.selnext import SELNeXt


def random_visible(
    count: int, grid: tuple[int, int], mask_ratio: float, device: torch.device
) -> Tensor:
    """Masks (count, 1, *grid) of 1 (visible) and 0 (hidden), drawn separately for each image.

    ``round(mask_ratio * cells)`` cells of the grid are hidden, but at least one, and not all.
    """
    cells = grid[0] * grid[1]
    hidden = min(max(round(mask_ratio * cells), 1), cells - 1)
    ranks = torch.rand(count, cells, device=device).argsort(1).argsort(1)
    return (ranks >= hidden).float().view(count, 1, *grid)


def resize_mask(visible: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask (N, 1, h, w) for a map of another size, (N, 1, *size).

    A position of a smaller map is visible if any part of the image under it is visible.
    """
    if size[0] > visible.shape[2]:
        return F.interpolate(visible, size)
    return F.adaptive_max_pool2d(visible, size)


def check_maskable(backbone: nn.Module) -> None:
    """Raise ValueError for a backbone that :func:`masked_forward` does not support."""
    if not isinstance(backbone, SELNeXt):
        raise ValueError(
            f'backbone {type(backbone).__name__}: masked pretraining knows SELNeXt, which is also '
            'ConvNeXt with its norm and no attention'
        )
    if backbone.gap_before_final_norm:
        raise ValueError(
            'gap_before_final_norm=True: masked pretraining needs maps; set it to False in the '
            'backbone of this config (a classifier may have True, the weights are the same)'
        )
    gates = {type(b.attention) for stage in backbone.stages for b in stage if b.attention}
    for gate in gates:
        if 'visible' not in inspect.signature(gate.forward).parameters:
            raise ValueError(
                f'attention_cfg type {gate.__name__} cannot leave out hidden positions; use SELN, '
                'SqueezeExcitation, GlobalResponseNorm or another channel attention'
            )


def masked_forward(backbone: SELNeXt, images: Tensor, visible: Tensor) -> tuple[Tensor, ...]:
    """``backbone(images)`` as a sparse network computes it on the visible part.

    The mask is applied to the images, after the stem, before and after each downsampling
    convolution and after each branch; the gate's mean is over the visible positions of its map.
    For a visible rectangle on a black background this equals ``backbone`` on its crop.

    Args:
        images: (N, C, H, W).
        visible: (N, 1, h, w) of 1 and 0, at least one 1 per image; H / h and W / w are multiples
            of the stem's stride.

    Returns:
        The maps of ``out_indices``, 0 at hidden positions.
    """
    x = images * resize_mask(visible, images.shape[2:])
    outs = []
    for i, (layers, stage) in enumerate(
        zip(backbone.downsample_layers, backbone.stages, strict=True)
    ):
        if i > 0:  # a norm turns zeros into its bias, which the convolution would spread
            x = layers[0](x) * resize_mask(visible, x.shape[2:])
        x = layers(x) if i == 0 else layers[1](x)
        mask = resize_mask(visible, x.shape[2:])
        x = x * mask
        for block in stage:
            x = block(x, mask)
        if i in backbone.out_indices:
            outs.append(getattr(backbone, f'norm{i}')(x) * mask)
    return tuple(outs)
