"""The block on a GPU as torch operators, without and with its gradient.

Registered with torch, so that ``torch.compile`` takes each block as one node of its graph. Without
a compiler the same functions are called directly, which saves the dispatcher's time.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..capabilities import autocast_dtype, without_autocast
from ..fake import fake_of
from ..packed import PackedOnce
from ..triton_launch import are_aligned, on_device
from .equations import BlockWeights, gate_goes_into_w2
from .gpu_backward import gpu_backward
from .gpu_forward import LowWeights, gpu_forward, one, prepare_weights, site_of


def _channels_last(x: Tensor, dtype: torch.dtype) -> Tensor:
    # to(memory_format=...) would leave slices of channels and crops as they are, with gaps.
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def _own_dtypes(x: Tensor) -> AbstractContextManager:
    """Within it products are in the dtype of their factors, also in a backward under autocast."""
    device = x.device.type
    return nullcontext() if autocast_dtype(device) is None else without_autocast(device)


def gpu_inference(
    x: Tensor,
    weights: Sequence[Tensor],
    eps: float,
    branch_scale: Tensor | None,
    dtype: torch.dtype,
    slot: int | None = None,
) -> Tensor:
    """``slot`` is the number of a :class:`PackedOnce` that keeps the prepared weights, if any."""
    w = BlockWeights(*weights)
    cache = None if slot is None else PackedOnce.numbered(slot)
    with on_device(x), _own_dtypes(x):
        low = None if cache is None else cache.get(w, prepare_weights, dtype)
        low = low or prepare_weights(w, dtype)
        x = _channels_last(x, dtype)
        site = site_of(x, w, dtype, branch_scale)
        return gpu_forward(site, x, w, low, eps, branch_scale, training=False)[0]


def gpu_training(
    x: Tensor, weights: list[Tensor], eps: float, branch_scale: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, list[Tensor | None]]:
    """The output and what the backward pass needs; None stands for an input of this function."""
    w = BlockWeights(*weights)
    with on_device(x), _own_dtypes(x):
        low = prepare_weights(w, dtype)
        chosen = _channels_last(x, dtype)
        site = site_of(chosen, w, dtype, branch_scale)
        out, y, h, state = gpu_forward(site, chosen, w, low, eps, branch_scale, training=True)
    cast = low.w1.dtype != w.w1.dtype
    saved = [
        *(None if chosen is x else chosen, y, h, state, low.taps),
        *(low[1:4] if cast else (None,) * 3),
        *(low[4:] if dtype == torch.float16 else (None,) * 2),
    ]
    return out, saved


def gpu_gradient(
    grad: Tensor,
    x: Tensor,
    saved: list[Tensor | None],
    weights: list[Tensor],
    eps: float,
    branch_scale: Tensor | None,
    dtype: torch.dtype,
) -> list[Tensor]:
    """Gradients of ``x`` and of all weights, in their order and dtypes."""
    w = BlockWeights(*weights)
    chosen, y, h, state, taps, w1, w2, b1, factor, unit = saved
    chosen = x if chosen is None else chosen
    with on_device(x), _own_dtypes(x):
        low = LowWeights(
            taps,
            *((w.w1, w.w2, w.b1) if w1 is None else (w1, w2, b1)),
            *((w.gamma, one(x.device)) if unit is None else (factor, unit)),
        )
        grad = _channels_last(grad, dtype)
        site = site_of(chosen, w, dtype, branch_scale)
        if not are_aligned(grad):
            grad = grad.clone(memory_format=torch.preserve_format)
        gradients = gpu_backward(
            *(site, grad, chosen, y, h, state, w, low, eps, branch_scale),
        )
    return [d.to(t.dtype) for d, t in zip(gradients, (x, *weights), strict=True)]


class GpuBlock(torch.autograd.Function):
    """The block with its gradient, called directly."""

    @staticmethod
    def forward(ctx, x, eps, branch_scale, dtype, *weights):
        out, saved = gpu_training(x, weights, eps, branch_scale, dtype)
        ctx.save_for_backward(x, branch_scale, *weights, *saved)
        ctx.options = eps, dtype, len(weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        eps, dtype, count = ctx.options
        x, branch_scale, *rest = ctx.saved_tensors
        d_x, *d_weights = gpu_gradient(
            grad, x, rest[count:], rest[:count], eps, branch_scale, dtype
        )
        return d_x, None, None, None, *d_weights


# --- for torch.compile: an operator may not return inputs or None; empty tensors stand for them --


def _operator_training(x, weights, eps, branch_scale, dtype):
    out, saved = gpu_training(x, weights, eps, branch_scale, dtype)
    return [out, *(x.new_empty(0) if t is None else t for t in saved)]


def _operator_gradient(grad, x, saved, weights, eps, branch_scale, dtype):
    saved = [None if t.ndim == 1 and len(t) == 0 else t for t in saved]
    return gpu_gradient(grad, x, saved, weights, eps, branch_scale, dtype)


_library = torch.library.Library('selnext_mm', 'FRAGMENT')
_library.define(
    'seln_block_gpu(Tensor x, Tensor[] weights, float eps, Tensor? branch_scale, '
    'ScalarType dtype, int? slot=None) -> Tensor'
)
_library.define(
    'seln_block_gpu_training(Tensor x, Tensor[] weights, float eps, Tensor? branch_scale, '
    'ScalarType dtype) -> Tensor[]'
)
_library.define(
    'seln_block_gpu_backward(Tensor grad, Tensor x, Tensor[] saved, Tensor[] weights, float eps, '
    'Tensor? branch_scale, ScalarType dtype) -> Tensor[]'
)
for _key in ('CUDA', 'CPU'):  # on a CPU in Triton's interpreter
    _library.impl('seln_block_gpu', gpu_inference, _key)
    _library.impl('seln_block_gpu_training', _operator_training, _key)
    _library.impl('seln_block_gpu_backward', _operator_gradient, _key)


def _like_images(x: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty_like(x, dtype=dtype, memory_format=torch.channels_last)


@fake_of(_library, 'seln_block_gpu')
def _(x, weights, eps, branch_scale, dtype, slot=None):
    return _like_images(x, dtype)


@fake_of(_library, 'seln_block_gpu_training')
def _(x, weights, eps, branch_scale, dtype):
    w = BlockWeights(*weights)
    n, channels, height, width = x.shape
    positions, wide, squeezed = height * width, len(w.b1), len(w.fc1_bias)
    cast, half = w.w1.dtype != dtype, dtype == torch.float16
    chosen_is_x = x.dtype == dtype and x.is_contiguous(memory_format=torch.channels_last)

    def new(*shape, of=torch.float32, where=True):
        return x.new_empty(shape, dtype=of) if where else x.new_empty(0)

    return [
        _like_images(x, dtype),
        new(where=False) if chosen_is_x else _like_images(x, dtype),
        new(n, positions, channels, of=dtype),
        new(n, positions, wide, of=dtype, where=not gate_goes_into_w2(positions, channels)),
        new(n * (2 * wide + squeezed + 2)),
        new(w.dw_weight.shape[-1] ** 2, channels),
        new(wide, channels, of=dtype, where=cast),
        new(channels, wide, of=dtype, where=cast),
        new(wide, of=dtype, where=cast),
        new(channels, where=half),
        new(1, where=half),
    ]


@fake_of(_library, 'seln_block_gpu_backward')
def _(grad, x, saved, weights, eps, branch_scale, dtype):
    return [
        _like_images(x, x.dtype),
        *(torch.empty_like(w, memory_format=torch.contiguous_format) for w in weights),
    ]


class CompiledGpuBlock(torch.autograd.Function):
    """:class:`GpuBlock` through the operators, for ``torch.compile``."""

    @staticmethod
    def forward(ctx, x, eps, branch_scale, dtype, *weights):
        out, *saved = torch.ops.selnext_mm.seln_block_gpu_training(
            x, weights, eps, branch_scale, dtype
        )
        ctx.save_for_backward(x, branch_scale, *weights, *saved)
        ctx.eps, ctx.dtype, ctx.count = eps, dtype, len(weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, branch_scale, *rest = ctx.saved_tensors
        weights, saved = rest[: ctx.count], rest[ctx.count :]
        gradients = torch.ops.selnext_mm.seln_block_gpu_backward(
            grad, x, saved, weights, ctx.eps, branch_scale, ctx.dtype
        )
        return gradients[0], None, None, None, *gradients[1:]
