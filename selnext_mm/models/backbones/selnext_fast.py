"""Run a SELNeXt block by :func:`selnext_mm.ops.seln_block` where that gives the same result."""

import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Proxy

from selnext_mm.models.attention.seln import SELN
from selnext_mm.ops.capabilities import (
    all_modules_are_watched,
    autocast_dtype,
    hook_dicts,
    is_compiling,
    is_recorded,
    is_watched,
)
from selnext_mm.ops.channel_norm import channel_norm, has_channel_norm
from selnext_mm.ops.seln_block.dispatch import plan_block, run_block
from selnext_mm.ops.seln_block.equations import BlockWeights

from .layers import DropPath, LayerNorm2d

IMPLS = ('auto', 'fused', 'reference')


class _Parts:
    """The modules of a block that the fused operation computes, looked up once.

    Raises AttributeError or TypeError if the block is built differently.
    """

    def __init__(self, block: nn.Module) -> None:
        attention = block.attention
        pointwise = nn.Linear if block.linear_pw_conv else nn.Conv2d
        drop_path = DropPath if type(block.drop_path) is DropPath else nn.Identity
        kinds = {
            block.depthwise_conv: nn.Conv2d,
            block.pointwise_conv1: pointwise,
            block.pointwise_conv2: pointwise,
            attention: SELN,
            attention.fc1: nn.Linear,
            attention.fc2: nn.Linear,
            attention.norm: nn.LayerNorm,
            block.act: nn.GELU,
            block.drop_path: drop_path,
        }
        self.children = [(m._modules, tuple(m._modules.values())) for m in (block, attention)]
        self.modules, self.kinds = tuple(kinds), tuple(kinds.values())
        self.dicts = [m.__dict__ for m in kinds]
        self.hooks = [hooks for m in kinds for hooks in hook_dicts(m)]
        self.parameters = [m._parameters for m in self.modules[:7]]
        self.conv, self.act = block.depthwise_conv, block.act

    def are_plain(self) -> bool:
        """Whether all modules are unchanged, of the expected types, and without hooks."""
        return (
            all(tuple(modules.values()) == known for modules, known in self.children)
            and tuple(map(type, self.modules)) == self.kinds
            and not any(self.hooks)
            and not any('forward' in names for names in self.dicts)
            and self.act.approximate == 'none'
            and self.conv.padding_mode == 'zeros'
            and not all_modules_are_watched()
        )


_parts: 'weakref.WeakKeyDictionary[nn.Module, _Parts]' = weakref.WeakKeyDictionary()


def parts_of(block: nn.Module) -> _Parts | None:
    """The parts of a ``SELNeXtBlock`` that the fused operation may compute, else None.

    None if the attention, activation or norm is another one, if a layer has been replaced,
    wrapped or parametrised, or if any module inside the block has a hook.
    """
    if block.norm is not None or type(block.attention) is not SELN:
        return None
    parts = None if is_compiling() else _parts.get(block)
    if parts is None or not parts.are_plain():
        parts = _Parts(block)
        if not parts.are_plain():
            return None
        if not is_compiling():  # else the compiler adds guards on the table of all blocks
            _parts[block] = parts
    return parts


def block_weights(block: nn.Module, parts: _Parts) -> BlockWeights:
    """The parameters of a block."""
    conv, first, second, _, fc1, fc2, norm = parts.parameters
    w1, w2, gamma = first['weight'], second['weight'], block.gamma
    if not block.linear_pw_conv:
        w1, w2 = w1.flatten(1), w2.flatten(1)
    if gamma is None:
        gamma = torch.ones_like(second['bias'], requires_grad=False)
    return BlockWeights(
        *(conv['weight'], conv['bias'], w1, first['bias']),
        *(fc1['weight'], fc1['bias'], fc2['weight'], fc2['bias'], norm['weight'], norm['bias']),
        *(w2, second['bias'], gamma),
    )


def images_for_stem(x: Tensor, first_block: nn.Module) -> Tensor:
    """The images ``x`` in the memory layout that leads to the fused blocks' layout after the stem.

    On a CPU that is channels-last. Copying the images is cheaper than copying the stem's output,
    which has twice the data.
    """
    if isinstance(x, Proxy) or x.device.type != 'cpu' or x.ndim != 4 or is_recorded():
        return x
    if first_block.impl == 'reference' or parts_of(first_block) is None:
        return x
    return x.contiguous(memory_format=torch.channels_last)


def _is_patch_conv(conv: nn.Module) -> bool:
    """Whether a convolution is a linear layer on patches: kernel and stride are the same."""
    if type(conv) is not nn.Conv2d or is_watched(conv) or conv.groups != 1:
        return False
    plain = conv.padding == (0, 0) and conv.dilation == (1, 1)
    return plain and conv.kernel_size == conv.stride == conv.kernel_size[::-1]


def fused_norm(norm: nn.Module, x: Tensor, impl: str, patch: int = 1) -> Tensor | None:
    """The norm of a map as rows (N, H, W, C), in patches; None if the module has to compute it."""
    if impl == 'reference' or type(norm) is not LayerNorm2d or is_watched(norm):
        return None
    if not has_channel_norm(x, norm.weight) or all_modules_are_watched():
        return None
    return channel_norm(x, norm.weight, norm.bias, norm.eps, autocast_dtype(x.device.type), patch)


def fused_stem(conv: nn.Module, norm: nn.Module, x: Tensor, impl: str) -> Tensor | None:
    """The stem as a matrix product and one pass; None if the modules have to compute it."""
    if impl == 'reference' or not _is_patch_conv(conv):
        return None
    if not has_channel_norm(x, conv.weight) or x.requires_grad or all_modules_are_watched():
        return None
    (patch, _), (n, channels, height, width) = conv.kernel_size, x.shape
    height, width = height // patch, width // patch
    windows = x[:, :, : height * patch, : width * patch].reshape(
        n, channels, height, patch, width, patch
    )
    patches = x.new_empty(
        (n, height, width, channels, patch, patch), dtype=autocast_dtype(x.device.type)
    )
    patches.copy_(windows.permute(0, 2, 4, 1, 3, 5))
    rows = F.linear(patches.flatten(3), conv.weight.flatten(1), conv.bias)
    rows = fused_norm(norm, rows.permute(0, 3, 1, 2), impl)
    return None if rows is None else rows.permute(0, 3, 1, 2)


def fused_downsample(norm: nn.Module, conv: nn.Module, x: Tensor, impl: str) -> Tensor | None:
    """A norm and a 2 x 2 convolution as one pass and a matrix product; None as above."""
    if not _is_patch_conv(conv) or conv.kernel_size != (2, 2):
        return None
    patches = fused_norm(norm, x, impl, patch=2)
    if patches is None:
        return None
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return F.linear(patches, weight, conv.bias).permute(0, 3, 1, 2)


def downsample(layers: nn.Module, is_stem: bool, x: Tensor, impl: str) -> Tensor:
    """The stem, or a downsampling layer, fused where that gives the same result faster."""
    plain = getattr(type(layers), 'forward', None) is nn.Sequential.forward
    if plain and len(layers) == 2 and not is_watched(layers):
        fused = fused_stem if is_stem else fused_downsample
        out = fused(layers[0], layers[1], x, impl)
        if out is not None:
            return out
    return layers(x)


def fused_forward(block: nn.Module, x: Tensor) -> Tensor | None:
    """The block's output from the fused operation; None if the modules have to compute it."""
    if block.with_cp and torch.is_grad_enabled():
        return None  # the user has chosen activation checkpointing
    parts = parts_of(block)
    if parts is None:
        return None
    w = block_weights(block, parts)
    plan = plan_block(x, w, allow_untimed=block.impl == 'fused')
    if plan is None:
        return None
    branch_scale = packed = None
    if block.training and isinstance(block.drop_path, DropPath):
        branch_scale = block.drop_path.factors(x)
    elif block.gamma is not None and (block.linear_pw_conv or not is_compiling()):
        packed = block.packed  # not where a compiler would hide changes of the weights
    return run_block(plan, x, w, block.attention.norm.eps, branch_scale, packed)
