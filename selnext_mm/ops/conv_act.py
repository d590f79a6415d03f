"""A convolution with its activation in the same pass, without autograd."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from .capabilities import (
    PRIVATE_ERRORS,
    autocast_dtype,
    is_plain,
    is_recorded,
    without_autocast,
)

# name -> (function, oneDNN's name)
ACTIVATIONS = {
    None: (lambda x: x, 'none'),
    'ReLU': (F.relu_, 'relu'),
    'Hardswish': (lambda x: F.hardswish(x, inplace=True), 'hardswish'),
}


@functools.cache
def has_fused_convolution() -> bool:
    """Whether oneDNN's convolution with a fused activation exists and gives correct results.

    The operator is private to torch, so it is tried on a small case first.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    ramp = torch.linspace(-4, 4, 2 * 8 * 25, device='cpu').view(2, 8, 5, 5)
    x = ramp.contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad(), without_autocast('cpu'):
            for weight, groups in ((ramp[:, :, :1, :1], 1), (ramp.view(8, 2, 5, 5)[:, :1], 8)):
                for activation in ACTIVATIONS:
                    args = (weight.contiguous(), ramp.flatten()[: len(weight)], 1, 0, groups)
                    got = _fused(x, *args, activation)
                    wanted = conv_act_reference(x, *args, activation)
                    if (got - wanted).abs().max() > 1e-5 * wanted.abs().max():
                        return False
    except PRIVATE_ERRORS:
        return False
    return True


def _fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int,
    padding: int,
    groups: int,
    activation: str | None,
) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(
        *(x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], groups),
        *(ACTIVATIONS[activation][1], [], ''),
    )


def conv_act_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """``activation(conv2d(x))``."""
    return ACTIVATIONS[activation][0](F.conv2d(x, weight, bias, stride, padding, 1, groups))


def conv_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """``activation(conv2d(x))`` for (N, C, H, W), without a gradient.

    On a CPU, in float32 and channels-last, the activation is applied while the result is in the
    cache. ``activation`` is one of :data:`ACTIVATIONS`.
    """
    fast = (
        not is_recorded()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and autocast_dtype('cpu') is None
        and x.numel() > 0
        and all(map(is_plain, (x, weight, bias)))
        and has_fused_convolution()
    )
    function = _fused if fast else conv_act_reference
    return function(x, weight, bias, stride, padding, groups, activation)
