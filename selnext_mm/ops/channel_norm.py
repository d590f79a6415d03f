"""Layer normalisation over the channels of a channels-last map, in one pass, on a GPU.

Under autocast torch computes the norm in float32 in three passes: a copy in float32, the norm, and
a copy in the narrower dtype for the next layer. Here it takes one pass, with the same float32
arithmetic inside. If a convolution with stride = kernel follows, the result is laid out for that
convolution's matrix product.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.fx import Proxy

from .capabilities import autocast_dtype, is_compiling, is_plain, is_recorded
from .triton_launch import Launcher, are_aligned, current_stream, on_device


def to_patches(rows: Tensor, patch: int) -> Tensor:
    """(N, H, W, C) as (N, H // patch, W // patch, patch * patch * C); cut to full patches."""
    n, height, width, channels = rows.shape
    height, width = height // patch, width // patch
    rows = rows[:, : height * patch, : width * patch]
    rows = rows.reshape(n, height, patch, width, patch, channels)
    return rows.transpose(2, 3).reshape(n, height, width, patch * patch * channels)


def channel_norm_reference(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, patch: int = 1
) -> Tensor:
    """The norm of (N, C, H, W); the result is channels-last, in patches (:func:`to_patches`)."""
    out = F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, eps)
    return to_patches(out, patch)


def has_channel_norm(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`channel_norm` supports this case: autocast on a GPU, not compiled.

    ``x`` may be the placeholder that ``torch.fx`` traces with.
    """
    if isinstance(x, Proxy) or x.device.type != 'cuda':
        return False
    if autocast_dtype('cuda') is None or is_recorded():
        return False
    if is_compiling() or torch.version.hip or x.numel() == 0 or x.ndim != 4:
        return False
    return is_plain(x) and is_plain(weight) and weight.dtype == torch.float32


def channel_norm(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype, patch: int = 1
) -> Tensor:
    """:func:`channel_norm_reference` in ``dtype``; ``x`` (N, C, H, W) is fastest channels-last."""
    return _ChannelNorm.apply(x, weight, bias, eps, dtype, patch)


def _launch_size(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile: about 4096 values."""
    block_c = 1 << max(4, (channels - 1).bit_length())
    return max(1, 4096 // block_c), block_c


@functools.cache
def _launcher(which: str) -> Launcher:
    from .triton_norm import channel_norm_gradient_kernel, channel_norm_kernel

    kernel = channel_norm_kernel if which == 'forward' else channel_norm_gradient_kernel
    return Launcher(kernel, num_warps=4)


def _family(x: Tensor, dtype: torch.dtype, *others: Tensor | None) -> tuple:
    """``others``: of the kernel's tensors those that it has not allocated itself, or None."""
    return x.device, x.dtype, dtype, x.shape[1], others[0] is None, are_aligned(x, *others)


class _ChannelNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps, dtype, patch):
        x = x.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = x.shape
        rows = n * height * width
        shape = (n, height // patch, width // patch, patch * patch * channels)
        out = x.new_empty(shape, dtype=dtype)
        training = any(ctx.needs_input_grad)
        statistics = x.new_empty((rows, 2), dtype=torch.float32) if training else None
        block_r, block_c = _launch_size(channels)
        with on_device(x):
            _launcher('forward')(
                *(_family(x, dtype, statistics, weight, bias), current_stream(x.device)),
                *((-(-rows // block_r), 1, 1), (patch, training, block_r, block_c)),
                *(x, weight, bias, out, statistics, rows, height, width, channels, eps),
            )
        if training:
            ctx.save_for_backward(x, weight, statistics)
            ctx.patch = patch
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, statistics = ctx.saved_tensors
        n, channels, height, width = x.shape
        rows = n * height * width
        block_r, block_c = _launch_size(channels)
        per_program = max(block_r, -(-rows // 1024))
        programs = -(-rows // per_program)
        d_x = torch.empty_like(x)
        sums = x.new_empty((programs, 2, channels), dtype=torch.float32)
        grad = grad.contiguous()
        with on_device(x):
            _launcher('backward')(
                *(_family(x, grad.dtype, grad, weight), current_stream(x.device)),
                *((programs, 1, 1), (ctx.patch, block_r, block_c)),
                *(grad, x, weight, statistics, d_x, sums),
                *(rows, height, width, channels, per_program),
            )
        d_weight, d_bias = sums.sum(0)
        return d_x, d_weight, d_bias, None, None, None
