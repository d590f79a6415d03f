"""Selective kernels (SK): two convolutions of the same map, mixed channel by channel."""

import torch
from torch import Tensor, nn

from selnext_mm.framework import MODELS


@MODELS.register_module()
class SelectiveKernel(nn.Module):
    """``y = a * u_1 + (1 - a) * u_2``, where ``a`` is a softmax over the two branches.

    ``u_1`` is a 3x3 convolution, ``u_2`` a grouped one, each with batch norm and ReLU. Their
    means are added, and ``fc2(relu(bn(fc1(mean))))`` gives two logits per channel.

    Shapes: (N, C, H, W) -> (N, C, H / stride, W / stride).

    Source: "Selective Kernel Networks", equations 1 to 6. Branches and widths are chosen to give
    the parameter counts of the NA paper's Table 1: a dense 3x3 convolution and one of 32 groups,
    neither dilated (the original has 3x3 and 5x5, both of 32 groups).

    Args:
        in_channels: number of channels C.
        stride: of both convolutions.
        dilation: of both convolutions.
        groups: of the second convolution.
        reduction: ``fc1`` has C / reduction outputs, rounded down, at least 1.

    Raises:
        ValueError: if ``groups`` does not divide C.
    """

    _abbr_ = 'sk'

    def __init__(
        self,
        in_channels: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 32,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        if in_channels % groups:
            raise ValueError(f'groups={groups} does not divide the {in_channels} channels')
        self.branches = nn.ModuleList()
        for parts in (1, groups):
            conv = nn.Conv2d(
                *(in_channels, in_channels, 3, stride),
                padding=dilation,
                dilation=dilation,
                groups=parts,
                bias=False,
            )
            relu = nn.ReLU(inplace=True)
            self.branches.append(nn.Sequential(conv, nn.BatchNorm2d(in_channels), relu))
        hidden = max(in_channels // reduction, 1)
        self.fc1 = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.fc2 = nn.Conv2d(hidden, 2 * in_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        dense, grouped = (branch(x) for branch in self.branches)
        mean = dense.mean((2, 3), keepdim=True) + grouped.mean((2, 3), keepdim=True)
        logits = self.fc2(torch.relu(self.bn(self.fc1(mean))))
        first, second = logits.unflatten(1, (2, -1)).unbind(1)
        # The softmax of two numbers is the sigmoid of their difference.
        share = torch.sigmoid(first - second)
        return torch.lerp(grouped, dense, share.to(dense.dtype))
