"""SELNeXt's blocks in the operators that other programs are fast at: 1x1 convolutions.

onnxruntime takes the mean over the positions of a channels-last map ten times as long as that of a
channels-first one, which was 28 % of SELNeXt-T at 800x1280; OpenVINO keeps convolutions free of
transposes. Measured in ``docs/deploy.md``.
"""

import torch
from torch import Tensor, nn

from selnext_mm.models.attention.base import ChannelAttention
from selnext_mm.ops.capabilities import is_watched

from .selnext_block import SELNeXtBlock


class GatedProduct(nn.Module):
    """``W2 (s * u) + b2`` as ``(W2 diag(s)) u + b2``, with the gate ``s`` of ``u``.

    Fewer bytes where a map has more positions than the result has channels: ``s`` multiplies the
    C x 4 C weights, not the 4 C x H W map. Shapes: (N, 4 C, H, W) -> (N, C, H, W).
    """

    def __init__(self, attention: ChannelAttention, layer: nn.Conv2d) -> None:
        super().__init__()
        self.attention = attention
        self.layer = layer

    def forward(self, u: Tensor) -> Tensor:
        s = self.attention.gate(self.attention.squeeze(u)).to(u.dtype)
        weight = self.layer.weight.flatten(1) * s.unsqueeze(1)
        out = torch.bmm(weight, u.flatten(2)).unflatten(2, u.shape[2:])
        return out + self.layer.bias.view(-1, 1, 1)


def as_convolution(layer: nn.Linear) -> nn.Conv2d:
    """The 1x1 convolution on NCHW that computes what ``layer`` does on NHWC."""
    conv = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=layer.bias is not None)
    conv.weight = nn.Parameter(layer.weight[:, :, None, None], layer.weight.requires_grad)
    conv.bias = layer.bias
    return conv.train(layer.training)


def _plain(block: nn.Module) -> bool:
    """Whether ``block`` computes what SELNeXt's block with attention does, and nothing else."""
    if not isinstance(block, SELNeXtBlock) or type(block)._branch is not SELNeXtBlock._branch:
        return False
    layers = (block.pointwise_conv1, block.pointwise_conv2)
    watched = any(is_watched(module) for module in block.modules())
    kinds = (nn.Linear, nn.Conv2d)
    known = isinstance(block.attention, ChannelAttention)
    return known and not watched and all(type(layer) in kinds for layer in layers)


def use_convolutions(block: nn.Module, scale_weights: bool) -> bool:
    """Rewrite ``block`` for good, see :meth:`SELNeXt.use_convolutions`; False if it is modified."""
    if not _plain(block):
        return False
    if block.linear_pw_conv:
        block.pointwise_conv1 = as_convolution(block.pointwise_conv1)
        block.pointwise_conv2 = as_convolution(block.pointwise_conv2)
        block.attention.data_format = 'channels_first'
        block.linear_pw_conv = False
    block.attention.in_steps = True
    if scale_weights and type(block.attention).forward is ChannelAttention.forward:
        block.pointwise_conv2 = GatedProduct(block.attention, block.pointwise_conv2)
        block.attention = None
    return True
