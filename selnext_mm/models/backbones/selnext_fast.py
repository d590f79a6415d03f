"""From a SELNeXt block's modules to :func:`selnext_mm.ops.seln_block`, where that is the same."""

import torch
from torch import Tensor, nn

from selnext_mm.models.attention.seln import SELN
from selnext_mm.ops.capabilities import (
    all_modules_are_watched,
    is_compiling,
    is_recorded,
    is_watched,
)
from selnext_mm.ops.seln_block import BlockWeights
from selnext_mm.ops.seln_block_choice import choose, seln_block

from .layers import DropPath

IMPLS = ('auto', 'fused', 'reference')


def is_plain_seln_block(block: nn.Module) -> bool:
    """Whether the modules of a ``SELNeXtBlock`` are those that the fused operation computes.

    Another attention, activation or norm, a replaced, wrapped or parametrised layer and a hook
    on any module inside the block make it False.
    """
    conv, attention = block.depthwise_conv, block.attention
    if block.norm is not None or type(attention) is not SELN:
        return False
    pointwise = nn.Linear if block.linear_pw_conv else nn.Conv2d
    parts = (
        *((conv, nn.Conv2d), (block.act, nn.GELU), (attention, SELN)),
        *((block.pointwise_conv1, pointwise), (block.pointwise_conv2, pointwise)),
        *((attention.fc1, nn.Linear), (attention.fc2, nn.Linear), (attention.norm, nn.LayerNorm)),
        (block.drop_path, DropPath if type(block.drop_path) is DropPath else nn.Identity),
    )
    if any(type(part) is not kind or is_watched(part) for part, kind in parts):
        return False
    if block.act.approximate != 'none' or conv.padding_mode != 'zeros':
        return False
    return not all_modules_are_watched()


def block_weights(block: nn.Module) -> BlockWeights:
    """The parameters of a block that :func:`is_plain_seln_block`."""
    conv, attention = block.depthwise_conv, block.attention
    first, second = block.pointwise_conv1, block.pointwise_conv2
    gamma = block.gamma
    if gamma is None:
        gamma = torch.ones_like(second.bias, requires_grad=False)
    return BlockWeights(
        *(conv.weight, conv.bias),
        *(first.weight.flatten(1), first.bias),
        *(attention.fc1.weight, attention.fc1.bias, attention.fc2.weight, attention.fc2.bias),
        *(attention.norm.weight, attention.norm.bias),
        *(second.weight.flatten(1), second.bias),
        gamma,
    )


def images_for_stem(x: Tensor, first_block: nn.Module) -> Tensor:
    """The images ``x`` in the layout in which fused blocks want the stem's output.

    On a CPU that is channels-last. The images are copied, so that the stem's output, twice the
    data, need not be.
    """
    if x.device.type != 'cpu' or x.ndim != 4 or is_recorded():
        return x
    if first_block.impl == 'reference' or not is_plain_seln_block(first_block):
        return x
    return x.contiguous(memory_format=torch.channels_last)


def fast_forward(block: nn.Module, x: Tensor) -> Tensor | None:
    """The block's output from the fused operation, None where the modules have to compute it."""
    if block.with_cp and torch.is_grad_enabled():
        return None  # the user has chosen what is kept and what is computed again
    if not is_plain_seln_block(block):
        return None
    w = block_weights(block)
    everywhere = block.impl == 'fused'
    if choose(x, w, everywhere) is None:
        return None
    keep = packed = None
    if block.training and isinstance(block.drop_path, DropPath):
        keep = block.drop_path.factors(x)
    elif block.gamma is not None and (block.linear_pw_conv or not is_compiling()):
        packed = block.packed  # not for weights whose changes a compiler's view would hide
    return seln_block(x, w, block.attention.norm.eps, keep, packed, everywhere)
