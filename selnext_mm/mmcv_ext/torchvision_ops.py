"""Which compiled operators of torchvision can be used, and on which devices.

On a GPU they are equivalent to mmcv's own kernels. On a CPU only NMS is faster than the code here
(``benchmarks/mmcv_ops.py``), so only NMS is used there.
"""

import functools
import importlib

import torch
from torch import Tensor


def _nms(device: str) -> bool:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], device=device)
    scores = torch.tensor([0.8, 0.9, 0.7], device=device)
    return torch.ops.torchvision.nms(boxes, scores, 0.5).tolist() == [1, 2]


def _roi_align(device: str) -> bool:
    """One sample at (y, x) = (1.25, 1.5) of 4 y + x, and the weights of the pixels around it."""
    image = torch.arange(16.0, device=device).reshape(1, 1, 4, 4)
    roi = torch.tensor([[0.0, 1.0, 0.75, 3.0, 2.75]], device=device)
    out = torch.ops.torchvision.roi_align(image, roi, 1.0, 1, 1, 1, True)
    size = (1, 1, 4, 4)
    back = torch.ops.torchvision._roi_align_backward
    grad = back(torch.ones_like(out), roi, 1.0, 1, 1, *size, 1, True)
    weights = [0.375, 0.375, 0.125, 0.125]
    return out.item() == 6.5 and grad[0, 0, 1:3, 1:3].flatten().tolist() == weights


def _deform_conv2d(device: str) -> bool:
    """A kernel of one weight, 2, moved by half a column, on the columns 0, 1, 2."""
    image = torch.arange(3.0, device=device).reshape(1, 1, 1, 3)
    weight = torch.full((1, 1, 1, 1), 2.0, device=device)
    offset = torch.tensor([0.0, 0.5], device=device).reshape(1, 2, 1, 1).expand(1, 2, 1, 3)
    none = image.new_zeros(1)
    settings = (1, 1, 0, 0, 1, 1, 1, 1, False)
    args = (image, weight, offset.contiguous(), none.reshape(1, 1), none, *settings)
    return torch.ops.torchvision.deform_conv2d(*args).flatten().tolist() == [1.0, 3.0, 2.0]


TRIES = {'nms': _nms, 'roi_align': _roi_align, 'deform_conv2d': _deform_conv2d}
ON_CPU = {'nms'}


@functools.cache
def works(name: str, device: str) -> bool:
    """Whether torchvision's operator ``name`` gives the right answer on this type of device.

    A torchvision that was built for another torch has no kernels, or kernels for other devices;
    some of the operators are private. So each is tried on a small case before it is used.
    """
    try:
        importlib.import_module('torchvision')
        return TRIES[name](device)
    except (ImportError, OSError, RuntimeError, AttributeError, TypeError):
        return False


def chosen(name: str, tensor: Tensor) -> bool:
    """Whether torchvision's operator ``name`` is used for ``tensor``."""
    device = tensor.device.type
    return (device != 'cpu' or name in ON_CPU) and works(name, device)


def in_use() -> list[str]:
    """torchvision's operators that are used on this machine: on a CUDA GPU, else on the CPU."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return [name for name in sorted(TRIES if device != 'cpu' else ON_CPU) if works(name, device)]
