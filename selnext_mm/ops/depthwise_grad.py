"""The gradients of a depth-wise convolution, without oneDNN's slow weight gradient.

With ``y[p] = sum_k W[k] x[p + k]`` per channel, both gradients are depth-wise convolutions::

    dW[k] = sum_p g[p] x[p + k]          each image of x, with the image of g as the kernel
    dx[p] = sum_k W[k] g[p - k]          g, with the flipped W as the kernel

oneDNN's convolution takes kernels of any size, and with these it is four to twenty times as fast
as its weight gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Number of terms summed in one call. With more of them the rounding error grows (float32 sums one
# after another), and the rows of the map no longer fit into the cache.
POSITIONS = 4096


def depthwise_backward_reference(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`depthwise_backward` by torch's own gradient."""
    channels, _, kernel, _ = weight.shape
    d_x, d_weight, _ = torch.ops.aten.convolution_backward(
        *(grad, x, weight, [channels], [1, 1], [kernel // 2] * 2),
        *([1, 1], False, [0, 0], channels, [True, True, False]),
    )
    return d_x, d_weight


def _weight_gradient(grad: Tensor, x: Tensor, kernel: int) -> Tensor:
    """Image by image and some rows at a time, because each image of ``grad`` is a kernel."""
    n, channels, height, width = x.shape
    pad = kernel // 2
    rows = max(1, POSITIONS // max(1, width))
    total = x.new_zeros((1, channels, kernel, kernel), dtype=torch.float32)
    for i in range(n):
        image, g = x[i : i + 1], grad[i].unsqueeze(1)
        if height <= rows:
            total += F.conv2d(image, g, padding=pad, groups=channels)
            continue
        image = F.pad(image, (0, 0, pad, pad))
        for top, part in zip(range(0, height, rows), g.split(rows, 2), strict=True):
            around = image[:, :, top : top + part.shape[2] + 2 * pad]
            total += F.conv2d(around, part, padding=(0, pad), groups=channels)
    return total.view(channels, 1, kernel, kernel)


def depthwise_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of ``x`` and ``weight`` of ``F.conv2d(x, weight, padding=k // 2, groups=C)``.

    Shapes: ``grad`` and ``x`` (N, C, H, W), fastest channels-last; ``weight`` (C, 1, k, k), k odd.
    All have one dtype, except that on a CPU the gradient of a bfloat16 ``weight``, a sum over the
    images, is float32. Records nothing for autograd.
    """
    fast = x.device.type == 'cpu' and x.dtype in (torch.float32, torch.bfloat16)
    if not fast or not torch.backends.mkldnn.is_available():
        return depthwise_backward_reference(grad, x, weight)
    channels, _, kernel, _ = weight.shape
    d_x = F.conv2d(grad, weight.flip((2, 3)), padding=kernel // 2, groups=channels)
    return d_x, _weight_gradient(grad, x, kernel)
