"""Channel gates of PATNet: from statistics of each channel to a factor in [0, 1]."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


def _full_precision(x: Tensor):
    device = x.device.type
    # Shape inference on the meta device knows no autocast.
    return nullcontext() if device == 'meta' else torch.autocast(device, enabled=False)


@MODELS.register_module()
class MeanStdGate(nn.Module):
    """Rescale channels by a gate on their mean and standard deviation ("Gaussian-SE").

    ``y = x * hardsigmoid(BN(W_mean mean_hw(x) + W_std std_hw(x)))`` with the unbiased standard
    deviation (H * W - 1, no epsilon) and two C x C matrices without bias, kept in one
    convolution of kernel (1, 2). There is no bottleneck and no hidden activation.
    The statistics, the matrices and the norm run in float32 (float64 for float64 input).

    A map of one position has no unbiased deviation; 0 is used there, where the published code
    gives NaN.

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

    def gate(self, x: Tensor) -> Tensor:
        """Factors (N, C, 1, 1) for ``x``, in at least single precision."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if x.shape[2] * x.shape[3] > 1:
            std, mean = torch.std_mean(x, (2, 3), keepdim=True)
        else:
            std, mean = torch.zeros_like(x), x
        norm = self.norm
        if isinstance(norm, nn.BatchNorm2d) and norm.training and x.shape[0] == 1:
            raise ValueError(
                'the batch norm inside a channel gate sees one value per image, and this batch '
                'has one image: train with gate_norm_eval=True (running statistics), SyncBN, or '
                'at least two images per device'
            )
        with _full_precision(x):
            fc = self.fc
            z = F.conv2d(
                torch.cat((mean, std), 3),
                fc.weight.to(x.dtype),
                None if fc.bias is None else fc.bias.to(x.dtype),
                groups=fc.groups,
            )
            return F.hardsigmoid(norm(z.to(fc.weight.dtype)))

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

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        with _full_precision(x):
            mean = mean.to(self.fc1.weight.dtype)
            gate = torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))
        return x * gate.to(x.dtype)
