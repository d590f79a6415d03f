"""Calls of the operators of an ``mmcv._ext``, as the functions of ``mmcv.ops`` make them."""

import importlib
import importlib.machinery
import importlib.util
import types

import torch

from selnext_mm.mmcv_ext.module import fill


def ours() -> types.ModuleType:
    """A module with our operators, whatever ``mmcv._ext`` is here."""
    module = types.ModuleType('mmcv._ext')
    fill(vars(module))
    return module


def compiled() -> types.ModuleType | None:
    """The compiled ``mmcv._ext`` if this environment has one."""
    try:
        spec = importlib.util.find_spec('mmcv._ext')
    except ModuleNotFoundError:  # no mmcv at all
        return None
    if spec is None or not isinstance(spec.loader, importlib.machinery.ExtensionFileLoader):
        return None
    return importlib.import_module('mmcv._ext')


def nms(ext, boxes, scores, iou_threshold, offset):
    return dict(kept=ext.nms(boxes, scores, iou_threshold=iou_threshold, offset=offset))


def softnms(ext, boxes, scores, **settings):
    dets = boxes.new_full((len(boxes), 5), -1.0)
    kept = ext.softnms(boxes, scores, dets, **settings)
    return dict(kept=kept, dets=dets[: len(kept)])


def nms_match(ext, dets, iou_threshold):
    groups = ext.nms_match(dets, iou_threshold=iou_threshold)
    return dict(
        members=torch.tensor([i for group in groups for i in group]),
        sizes=torch.tensor([len(group) for group in groups]),
    )


def bbox_overlaps(ext, first, second, mode, aligned, offset):
    ious = first.new_zeros(len(first) if aligned else (len(first), len(second)))
    ext.bbox_overlaps(first, second, ious, mode=mode, aligned=aligned, offset=offset)
    return dict(ious=ious)


def roi_align(ext, maps, rois, size, scale, ratio, mode, aligned):
    out = maps.new_zeros(len(rois), maps.shape[1], *size)
    at = [torch.zeros_like(out) if mode == 0 else maps.new_zeros(0) for _ in 'yx']
    settings = dict(
        aligned_height=size[0],
        aligned_width=size[1],
        spatial_scale=scale,
        sampling_ratio=ratio,
        pool_mode=mode,
        aligned=aligned,
    )
    ext.roi_align_forward(maps, rois, out, *at, **settings)
    grad = maps.new_zeros(maps.shape)
    ext.roi_align_backward(slopes(out), rois, *at, grad, **settings)
    return dict(out=out, grad_maps=grad)


def deform_conv(ext, maps, offset, weight, grad, stride, padding, dilation, groups, deform_groups):
    out, grad_maps = torch.zeros_like(grad), torch.zeros_like(maps)
    grad_offset, grad_weight = torch.zeros_like(offset), torch.zeros_like(weight)
    buffers = [maps.new_empty(0), maps.new_empty(0)]
    settings = dict(
        kW=weight.shape[3],
        kH=weight.shape[2],
        dW=stride[1],
        dH=stride[0],
        padW=padding[1],
        padH=padding[0],
        dilationW=dilation[1],
        dilationH=dilation[0],
        group=groups,
        deformable_group=deform_groups,
        im2col_step=len(maps),
    )
    ext.deform_conv_forward(maps, weight, offset, out, *buffers, **settings)
    # The compiled operator turns the dimensions of the gradient that it is given.
    grads = (grad_maps, grad_offset, weight, buffers[0])
    ext.deform_conv_backward_input(maps, offset, grad.clone(), *grads, **settings)
    grads = (grad_weight, *buffers)
    ext.deform_conv_backward_parameters(maps, offset, grad.clone(), *grads, scale=1, **settings)
    return dict(out=out, grad_maps=grad_maps, grad_offset=grad_offset, grad_weight=grad_weight)


def modulated_deform_conv(
    ext, maps, offset, mask, weight, bias, grad, stride, padding, dilation, groups, deform_groups
):
    with_bias = bias is not None
    bias = bias if with_bias else maps.new_empty(0)
    out = torch.zeros_like(grad)
    buffers = [maps.new_empty(0), maps.new_empty(0)]
    settings = dict(
        kernel_h=weight.shape[2],
        kernel_w=weight.shape[3],
        stride_h=stride[0],
        stride_w=stride[1],
        pad_h=padding[0],
        pad_w=padding[1],
        dilation_h=dilation[0],
        dilation_w=dilation[1],
        group=groups,
        deformable_group=deform_groups,
        with_bias=with_bias,
    )
    ext.modulated_deform_conv_forward(
        maps, weight, bias, buffers[0], offset, mask, out, buffers[1], **settings
    )
    names = ('maps', 'weight', 'bias', 'offset', 'mask')
    grads = {
        f'grad_{name}': torch.zeros_like(tensor)
        for name, tensor in zip(names, (maps, weight, bias, offset, mask), strict=True)
    }
    ext.modulated_deform_conv_backward(
        *(maps, weight, bias, buffers[0], offset, mask, buffers[1]),
        *grads.values(),
        grad.clone(),
        **settings,
    )
    return dict(out=out, **grads)


def slopes(out):
    """A gradient of ``out`` that differs from place to place."""
    return torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).sin().view_as(out)
