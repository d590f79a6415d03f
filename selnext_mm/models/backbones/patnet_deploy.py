"""Exact merging of PATNet's batch norms and of PAT_sp into its 1x1 convolutions."""

import torch
from torch import nn

from selnext_mm.models.attention.partial import (
    FoldedSpatialAttention,
    PartialChannelAttention,
    PartialSpatialAttention,
)
from selnext_mm.models.attention.patnet_gates import MeanStdGate
from selnext_mm.ops.fold import bias_of, bn_affine, fold_bn_conv1x1, fold_conv_bn, with_weights

FOLDS = ('all', 'conv_bn')


@torch.no_grad()
def fold_spatial(
    before: nn.Conv2d, attention: PartialSpatialAttention
) -> tuple[nn.Conv2d, FoldedSpatialAttention]:
    """Two layers that equal ``attention(before(x))`` in eval mode.

    The gate's logit and the convolved channels are linear in the input of the 1x1 convolution
    ``before``, and a factor per position commutes with a 1x1 convolution. What is left is one
    convolution C' -> C + 1, then that factor, then the shifts of the norms.
    """
    n = attention.keep_channels
    gated = attention.gate.in_channels
    rows, bias = before.weight.double().flatten(1), bias_of(before)
    logit = attention.gate.weight.double().flatten(1)
    logit_rows, logit_bias = logit @ rows[:gated], logit @ bias[:gated]
    rows, bias = rows.clone(), bias.clone()
    scale, shift = bn_affine(attention.gate_norm)
    rows[:gated] *= scale[:, None]
    bias[:gated] *= scale

    conv = attention.conv.weight.double().flatten(1)
    conv_scale, conv_shift = bn_affine(attention.conv_norm)
    rows[n:] = conv @ (conv_scale[:, None] * rows[n:])
    bias[n:] = conv @ (conv_scale * bias[n:])
    if attention.scope == 'all':
        shift[n:] = conv @ (conv_scale * shift[n:] + conv_shift)
    else:
        bias[n:] += conv @ conv_shift
    weight = torch.cat((rows, logit_rows))[:, :, None, None]
    merged = with_weights(before, weight, torch.cat((bias, logit_bias)))
    folded = FoldedSpatialAttention(shift.to(before.weight.dtype))
    return merged, folded.train(before.training)


def fold_block(block: nn.Module, fold: str) -> None:
    """Merge the layers of one PATNet block in place; ``fold`` is one of ``FOLDS``."""
    block.expand = fold_conv_bn(block.expand, block.norm)
    block.norm = nn.Identity()
    gate = getattr(block.mixer, 'gate', None)
    if isinstance(gate, MeanStdGate):
        gate.fc, gate.norm = fold_conv_bn(gate.fc, gate.norm), nn.Identity()
    if fold == 'conv_bn':
        return
    mixer = block.mixer
    # With a shortcut around the mixer, the convolution is not the only consumer of the norm.
    if isinstance(mixer, PartialChannelAttention) and not block.mixer_shortcut:
        first = mixer.in_channels - mixer.attention_channels
        block.expand = fold_bn_conv1x1(mixer.norm, block.expand, first)
        mixer.norm = nn.Identity()
    if isinstance(block.spatial, PartialSpatialAttention):
        block.reduce, block.spatial = fold_spatial(block.reduce, block.spatial)


def fold_patnet(model: nn.Module, fold: str = 'all') -> None:
    """Merge all of a PATNet backbone in place.

    ``'conv_bn'`` merges each batch norm into the convolution right before it: in the stem, the
    downsampling layers, the expansions and the channel gates. ``'all'`` merges the
    norm after a channel gate and PAT_sp as well.

    Raises:
        ValueError: for an unknown ``fold``.
    """
    if fold not in FOLDS:
        raise ValueError(f'fold={fold!r}; expected one of {FOLDS}')
    for layer in model.downsample_layers:
        layer[0], layer[1] = fold_conv_bn(layer[0], layer[1]), nn.Identity()
    for stage in model.stages:
        for block in stage:
            fold_block(block, fold)
