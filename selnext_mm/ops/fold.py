"""Merging batch norms and 1x1 convolutions for inference, computed in double precision."""

import torch
from torch import Tensor, nn


def bn_affine(norm: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """(scale, shift) in float64 of a batch norm in eval mode: ``norm(x) = scale * x + shift``."""
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - scale * norm.running_mean.double()


def bias_of(conv: nn.Conv2d) -> Tensor:
    """The bias in float64, zeros if there is none."""
    if conv.bias is None:
        return conv.weight.new_zeros(conv.out_channels, dtype=torch.float64)
    return conv.bias.double()


@torch.no_grad()
def with_weights(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution like ``conv`` with other weights, possibly with another number of outputs."""
    merged = nn.Conv2d(
        conv.in_channels,
        len(weight),
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        bias=True,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    merged.weight.copy_(weight)
    merged.bias.copy_(bias)
    return merged.requires_grad_(False).train(conv.training)


@torch.no_grad()
def fold_conv_bn(conv: nn.Conv2d, norm: nn.modules.batchnorm._BatchNorm) -> nn.Conv2d:
    """One convolution that computes ``norm(conv(x))`` in eval mode."""
    scale, shift = bn_affine(norm)
    weight = conv.weight.double() * scale[:, None, None, None]
    return with_weights(conv, weight, scale * bias_of(conv) + shift)


@torch.no_grad()
def fold_bn_conv1x1(
    norm: nn.modules.batchnorm._BatchNorm, conv: nn.Conv2d, first: int
) -> nn.Conv2d:
    """One 1x1 convolution for ``conv`` after ``norm`` on the input channels from ``first`` on."""
    if conv.kernel_size != (1, 1) or conv.groups != 1:
        raise ValueError(f'{conv}; expected a dense 1x1 convolution')
    scale, shift = bn_affine(norm)
    weight = conv.weight.double().clone()
    bias = bias_of(conv) + weight[:, first:, 0, 0] @ shift
    weight[:, first:] *= scale[:, None, None]
    return with_weights(conv, weight, bias)
