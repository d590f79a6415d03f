"""Convolution, batch norm and activation, which a deployed model computes as one convolution."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selnext_mm.framework import Sequential
from selnext_mm.ops.capabilities import (
    all_modules_are_watched,
    is_compiling,
    is_recorded,
    is_watched,
)
from selnext_mm.ops.conv_act import ACTIVATIONS, conv_act
from selnext_mm.ops.fold import fold_conv_bn
from selnext_mm.ops.packed import PackedOnce

from .layers import build_activation


def build_batch_norm(cfg: dict, num_channels: int) -> nn.Module:
    """The batch norm that ``cfg`` describes: ``SyncBN`` across processes, ``BN`` within one.

    Raises:
        ValueError: for any other type or an unknown key.
    """
    options = dict(cfg)
    cls = {'BN': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm}.get(options.pop('type', None))
    if cls is None or not set(options) <= {'eps', 'momentum'}:
        raise ValueError(
            f"norm_cfg={cfg!r}; expected type 'BN' or 'SyncBN', and optionally eps and momentum"
        )
    return cls(num_channels, **options)


class ConvNorm(Sequential):
    """Convolution without bias, batch norm, activation; padded so that stride 1 keeps the size.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.

    In a deployed model, where ``packed`` is a :class:`PackedOnce`, the norm is merged into a copy
    of the convolution's weights and the activation computed in the same pass. Parameters and
    buffers stay as they are.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        norm_cfg: dict,
        stride: int = 1,
        groups: int = 1,
        activation: str | None = None,
    ) -> None:
        conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        layers = [conv, build_batch_norm(norm_cfg, out_channels)]
        if activation:
            layers.append(build_activation(dict(type=activation)))
        super().__init__(*layers)
        self.activation = activation
        self.packed: PackedOnce | None = None

    def _can_merge(self, x: Tensor) -> bool:
        """Whether one convolution may replace the layers without a visible difference."""
        if self.packed is None or self.training or is_compiling() or is_recorded():
            return False
        if type(self[0]) is not nn.Conv2d or not isinstance(self[1], _BatchNorm):
            return False
        if self[1].running_mean is None or any(layer.training for layer in self):
            return False
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *self.parameters())):
            return False
        if len(self) > 2 and type(self[2]).__name__ != self.activation:
            return False
        if self.activation not in ACTIVATIONS or all_modules_are_watched():
            return False
        return not any(map(is_watched, self))

    def _merge(self, _) -> tuple[Tensor, Tensor]:
        merged = fold_conv_bn(self[0], self[1])
        return merged.weight.detach(), merged.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        if self._can_merge(x):
            conv, norm = self[0], self[1]
            watched = (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
            merged = self.packed.get(watched, self._merge)
            if merged is not None:
                options = conv.stride[0], conv.padding[0], conv.groups
                with torch.no_grad():
                    return conv_act(x, *merged, *options, self.activation)
        return super().forward(x)
