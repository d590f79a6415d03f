"""Deformable convolution (Dai et al., 2017) and its modulated form (Zhu et al., 2019).

Every weight of the kernel samples the map bilinearly at its position plus an offset; the modulated
form multiplies the sample by a mask. The samples are weighted sums of rows of the map, followed by
a product with the weights; torch differentiates both. A GPU uses torchvision's operator.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from selnext_mm.mmcv_ext.bilinear_sum import corners, is_inside, weighted_rows
from selnext_mm.mmcv_ext.numeric import exact, gradients, working
from selnext_mm.mmcv_ext.torchvision_ops import chosen


class Setting(NamedTuple):
    """Pairs are (height, width)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deform_groups: int


def places(offset: Tensor, kernel: tuple[int, int], setting: Setting) -> tuple[Tensor, Tensor]:
    """Sampling positions y and x of one image: (deform groups, kernel, H, W) each.

    Args:
        offset: (deform groups * kernel * 2, H, W), y before x for each weight of the kernel.
    """
    height, width = offset.shape[-2:]
    offset = offset.view(setting.deform_groups, kernel[0] * kernel[1], 2, height, width)

    def grid(axis: int, length: int) -> tuple[Tensor, Tensor]:
        numbers = torch.arange(max(length, kernel[axis]), device=offset.device)
        start = numbers[:length] * setting.stride[axis] - setting.padding[axis]
        return numbers[: kernel[axis]] * setting.dilation[axis], start

    (ky, y), (kx, x) = grid(0, height), grid(1, width)
    ky, kx = ky.repeat_interleave(kernel[1]), kx.repeat(kernel[0])
    y = (ky[:, None, None] + y[:, None]) + offset[:, :, 0]
    return y, (kx[:, None, None] + x) + offset[:, :, 1]


def convolve_image(
    image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, setting: Setting
) -> Tensor:
    """(C, H, W) to (O, H', W'); see :func:`convolve`."""
    (channels, height, width), (out, _, *kernel) = image.shape, weight.shape
    groups, deform, taps = setting.groups, setting.deform_groups, kernel[0] * kernel[1]
    pixels, weights = corners(*places(offset, kernel, setting), height, width)
    weights = weights * mask.reshape(weights.shape[:-1])[..., None]
    maps = torch.arange(deform, device=image.device)[:, None, None, None, None]
    pixels = pixels + maps * (height * width)

    def by_place(tensor: Tensor) -> Tensor:
        return tensor.permute(2, 3, 0, 1, 4).reshape(-1, 4)

    rows = image.reshape(deform, channels // deform, -1).transpose(1, 2).flatten(0, 1)
    columns = weighted_rows(rows, by_place(pixels), by_place(weights))
    columns = columns.view(-1, deform, taps, channels // deform).transpose(1, 2)
    columns = columns.reshape(-1, taps, groups, channels // groups)
    columns = columns.permute(2, 0, 1, 3).flatten(2)  # (groups, H' W', taps * C / groups)
    matrix = weight.reshape(groups, out // groups, channels // groups, taps)
    matrix = matrix.permute(0, 3, 2, 1).flatten(1, 2)
    return (columns @ matrix).transpose(1, 2).reshape(out, *offset.shape[-2:])


def fixed_outside(
    offset: Tensor, kernel: tuple[int, int], size: tuple[int, int], setting: Setting
) -> Tensor:
    """``offset``, without a gradient where the sample is a pixel or more outside its map.

    At exactly one pixel outside torchvision's operator gives one, mmcv's gives none. Untrained
    offsets of 0 are there, at the border of a map with padding.
    """
    maps = [places(one, kernel, setting) for one in offset.detach()]
    inside = torch.stack([is_inside(y, x, *size) for y, x in maps])
    inside = torch.stack([inside, inside], 3).view_as(offset)
    return torch.where(inside, offset, offset.detach())


def convolve(
    images: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, setting: Setting
) -> Tensor:
    """The convolution without bias, (B, O, H', W'). Differentiable in all four tensors.

    Args:
        images: (B, C, H, W).
        offset: (B, deform groups * kernel * 2, H', W').
        mask: (B, deform groups * kernel, H', W').
        weight: (O, C / groups, kernel height, kernel width).
    """
    if chosen('deform_conv2d', images):
        pairs = (*setting.stride, *setting.padding, *setting.dilation)
        groups = (setting.groups, setting.deform_groups)
        if offset.requires_grad:
            offset = fixed_outside(offset, weight.shape[2:], images.shape[2:], setting)
        tensors = (images, weight, offset, mask, images.new_zeros(len(weight)))
        return torch.ops.torchvision.deform_conv2d(*tensors, *pairs, *groups, True)
    each = zip(images, offset, mask, strict=True)
    return torch.stack([convolve_image(*parts, weight, setting) for parts in each])


def tensor_gradients(
    tensors: tuple[Tensor, ...], setting: Setting, grad: Tensor, wanted: tuple[int, ...]
) -> list[Tensor]:
    """Gradients of :func:`convolve` with respect to ``tensors[i]`` for each i in ``wanted``.

    One image at a time, because the samples of all images together need the most memory.
    """
    images, offset, mask, weight = tensors

    function = partial(convolve, setting=setting)
    found = [torch.zeros_like(tensors[i]) for i in wanted]
    for number in range(len(images)):
        one = slice(number, number + 1)
        parts = (images[one], offset[one], mask[one], weight)
        for i, total, part in zip(
            wanted, found, gradients(function, parts, grad[one], wanted), strict=True
        ):
            (total if i == 3 else total[one]).add_(part)
    return found


def ones_for(offset: Tensor) -> Tensor:
    """A mask of ones for a convolution with ``offset``, which is then not modulated."""
    return offset.new_ones(len(offset), offset.shape[1] // 2, *offset.shape[2:])


@exact
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the convolution into ``output`` (B, O, H', W').

    ``columns``, ``ones``, ``kW``, ``kH`` and ``im2col_step`` are not needed; the others are those
    of :func:`convolve`.
    """
    pairs = (dH, dW), (padH, padW), (dilationH, dilationW)
    offset = working(offset)
    tensors = (working(input), offset, ones_for(offset), working(weight))
    output.copy_(convolve(*tensors, Setting(*pairs, group, deformable_group)))


@exact
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Write the gradients of maps and offsets into ``gradInput`` and ``gradOffset``."""
    pairs = (dH, dW), (padH, padW), (dilationH, dilationW)
    offset, setting = working(offset), Setting(*pairs, group, deformable_group)
    tensors = (working(input), offset, ones_for(offset), working(weight))
    found = tensor_gradients(tensors, setting, working(gradOutput), (0, 1))
    gradInput.copy_(found[0])
    gradOffset.copy_(found[1])


@exact
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Write ``scale`` times the gradient of the weights into ``gradWeight``."""
    pairs = (dH, dW), (padH, padW), (dilationH, dilationW)
    offset, setting = working(offset), Setting(*pairs, group, deformable_group)
    # Only the shape of the kernel matters here, not its values.
    tensors = (working(input), offset, ones_for(offset), working(gradWeight))
    (found,) = tensor_gradients(tensors, setting, working(gradOutput), (3,))
    gradWeight.copy_(found * scale)


@exact
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the convolution, with ``mask`` and bias, into ``output`` (B, O, H', W')."""
    pairs = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    tensors = (working(input), working(offset), working(mask), working(weight))
    out = convolve(*tensors, Setting(*pairs, group, deformable_group))
    output.copy_(out + working(bias)[:, None, None] if with_bias else out)


@exact
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Write the gradients into the five tensors from ``grad_input`` to ``grad_mask``."""
    pairs = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    setting, grad = Setting(*pairs, group, deformable_group), working(grad_output)
    tensors = tuple(map(working, (input, offset, mask, weight)))
    targets = (grad_input, grad_offset, grad_mask, grad_weight)
    found = tensor_gradients(tensors, setting, grad, (0, 1, 2, 3))
    for target, gradient in zip(targets, found, strict=True):
        target.copy_(gradient)
    if with_bias:
        grad_bias.copy_(grad.sum((0, 2, 3)))
