"""The floating-point types that the operators compute in, and their gradients."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from selnext_mm.ops.capabilities import without_autocast


def exact(function):
    """Run ``function`` without gradients and without autocast, as a compiled operator does.

    mmcv calls the operators from ``torch.autograd.Function``, where autocast is still on: it
    would compute products of float32 boxes and weights in half precision. The first argument
    has to be a tensor.
    """

    @functools.wraps(function)
    def call(first: Tensor, *args, **kwargs):
        with torch.no_grad(), without_autocast(first.device.type):
            return function(first, *args, **kwargs)

    return call


def working(tensor: Tensor) -> Tensor:
    """``tensor`` itself if it is float64, else in float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def gradients(
    function, tensors: Sequence[Tensor], grad: Tensor, wanted: Sequence[int] | None = None
) -> tuple[Tensor, ...]:
    """Gradients of ``sum(grad * function(*tensors))`` for the tensors ``wanted`` (None: all)."""
    wanted = range(len(tensors)) if wanted is None else wanted
    leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(tensors)]
    with torch.enable_grad():
        out = function(*leaves)
    return torch.autograd.grad(out, [leaves[i] for i in wanted], grad)
