"""Channel gates of PATNet: from statistics of each channel to a factor in [0, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selnext_mm.framework import MODELS
from selnext_mm.ops.capabilities import without_autocast


@MODELS.register_module()
class MeanStdGate(nn.Module):
    """Rescale channels by a gate on their mean and standard deviation ("Gaussian-SE").

    ``y = x * hardsigmoid(BN(W_mean mean_hw(x) + W_std std_hw(x)))`` with the unbiased standard
    deviation (H * W - 1, no epsilon) and two C x C matrices without bias, kept in one
    convolution of kernel (1, 2). There is no bottleneck and no hidden activation.
    The statistics, the matrices and the norm run in float32 (float64 for float64 input), also in
    a model converted to half precision. The exception is the norm in training: it keeps its
    running statistics in its own precision.

    A map with one position has no unbiased deviation. It is 0 here; the published code gives
    NaN.

    The norm sees one value per image: N of them in a batch of N. With ``norm.eval()`` it uses its
    running statistics (``PATNet(gate_norm_eval=True)``).

    Shapes: (N, C, H, W) -> (N, C, H, W).

    Source: "Partial Convolution Meets Visual Attention", section 3.2, and the authors' code.

    Args:
        in_channels: number of channels C.
        depthwise: two numbers per channel in place of the matrices: the style-based
            recalibration (SRM) of Table 10.

    Raises:
        ValueError: in training with a single image, unless the norm is in eval mode.
    """

    def __init__(self, in_channels: int, depthwise: bool = False) -> None:
        super().__init__()
        groups = in_channels if depthwise else 1
        self.fc = nn.Conv2d(in_channels, in_channels, (1, 2), groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(in_channels)

    def excite(self, x: Tensor) -> Tensor:
        """The input of the norm, (N, C, 1, 1), in float32 or wider."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if x.shape[2] * x.shape[3] > 1:
            std, mean = torch.std_mean(x, (2, 3), keepdim=True)
        else:
            std, mean = torch.zeros_like(x), x
        fc = self.fc
        with without_autocast(x.device.type):
            return F.conv2d(
                torch.cat((mean, std), 3),
                fc.weight.to(x.dtype),
                None if fc.bias is None else fc.bias.to(x.dtype),
                groups=fc.groups,
            )

    def activate(self, z: Tensor) -> Tensor:
        """Factors (N, C, 1, 1) from what :meth:`excite` returns."""
        with without_autocast(z.device.type):
            return F.hardsigmoid(self._norm(z))

    def gate(self, x: Tensor) -> Tensor:
        """Factors (N, C, 1, 1) for ``x``, in float32 or wider."""
        norm = self.norm
        if isinstance(norm, nn.BatchNorm2d) and norm.training and x.shape[0] == 1:
            raise ValueError(
                'the batch norm inside a channel gate sees one value per image, and this batch '
                'has one image: train with gate_norm_eval=True (running statistics), SyncBN, or '
                'at least two images per device'
            )
        return self.activate(self.excite(x))

    def _norm(self, z: Tensor) -> Tensor:
        """The norm of ``z``; in eval mode in the dtype of ``z``, whatever the dtype of the norm."""
        norm = self.norm
        if not isinstance(norm, _BatchNorm) or norm.weight.dtype == z.dtype:
            return norm(z)
        if norm.training:
            return norm(z.to(norm.weight.dtype)).to(z.dtype)
        values = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return F.batch_norm(z, *(v.to(z.dtype) for v in values), eps=norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x).to(x.dtype)


@MODELS.register_module()
class SqueezeExciteGate(nn.Module):
    """Rescale channels by squeeze-and-excitation: ``x * sigmoid(W2 relu(W1 mean_hw(x)))``.

    Both layers have biases; the hidden width is ``C // reduction``. A row of Table 10.

    Shapes: (N, C, H, W) -> (N, C, H, W).

    Args:
        in_channels: number of channels C.
        reduction: ratio between C and the hidden width.
    """

    def __init__(self, in_channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(in_channels // reduction, 1)
        self.fc1 = nn.Conv2d(in_channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, in_channels, 1)

    def excite(self, x: Tensor) -> Tensor:
        """The input of the sigmoid, (N, C, 1, 1)."""
        mean = x.mean((2, 3), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        with without_autocast(x.device.type):
            return self.fc2(F.relu(self.fc1(mean.to(self.fc1.weight.dtype))))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(x)).to(x.dtype)
