"""SELNeXt's residual block."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selnext_mm.framework import MODELS, BaseModule

from .base import expanded_width
from .layers import DropPath, build_activation, build_norm2d
from .selnext_fast import fused_forward


class SELNeXtBlock(BaseModule):
    """One residual block: ``x + drop_path(gamma * W2 gate(GELU(W1 norm(dwconv(x)))))``.

    Shapes: (N, C, H, W) -> (N, C, H, W); the gate sees the expanded ``mlp_ratio * C`` channels.
    With a mask ``visible`` (N, 1, H, W) of 1 and 0, the branch is 0 at hidden positions, and the
    gate's mean is over the visible ones; ``x`` has to be 0 at hidden positions.
    Source: the paper's Fig. 4, which has no norm; layer scale ``gamma`` and stochastic depth as
    in ConvNeXt, whose block is this one with a norm and without attention.

    Args:
        in_channels: width C.
        attention_cfg: attention on the expanded channels, or None for none.
        block_norm_cfg: channels-first norm after the depth-wise convolution, or None for none.
        act_cfg: activation after the first pointwise layer.
        mlp_ratio: expansion.
        linear_pw_conv: pointwise layers as linear layers on NHWC, or as 1x1 convolutions.
        drop_path_rate: stochastic-depth rate of this block.
        layer_scale_init_value: initial ``gamma``; no layer scale if 0 or less.
        with_cp: recompute the block in the backward pass instead of keeping its activations.
        impl: 'auto', 'fused' or 'reference', see :class:`SELNeXt`.
    """

    def __init__(
        self,
        in_channels: int,
        attention_cfg: dict | None = None,
        block_norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        mlp_ratio: float = 4.0,
        linear_pw_conv: bool = True,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        with_cp: bool = False,
        impl: str = 'auto',
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.impl = impl
        self.packed = None  # a PackedOnce in a deployed model
        self.linear_pw_conv = linear_pw_conv
        hidden = expanded_width(in_channels, mlp_ratio)
        self.depthwise_conv = nn.Conv2d(in_channels, in_channels, 7, padding=3, groups=in_channels)
        self.norm = None
        if block_norm_cfg is not None:
            self.norm = build_norm2d(block_norm_cfg, in_channels)
        if linear_pw_conv:
            self.pointwise_conv1 = nn.Linear(in_channels, hidden)
            self.pointwise_conv2 = nn.Linear(hidden, in_channels)
        else:
            self.pointwise_conv1 = nn.Conv2d(in_channels, hidden, 1)
            self.pointwise_conv2 = nn.Conv2d(hidden, in_channels, 1)
        self.act = build_activation(act_cfg or dict(type='GELU'))
        self.attention = None
        if attention_cfg is not None:
            data_format = 'channels_last' if linear_pw_conv else 'channels_first'
            self.attention = MODELS.build(
                dict(attention_cfg, in_channels=hidden, data_format=data_format)
            )
        self.gamma = None
        if layer_scale_init_value > 0:
            self.gamma = nn.Parameter(torch.full((in_channels,), float(layer_scale_init_value)))
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()

    def _branch(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        x = self.depthwise_conv(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.linear_pw_conv:
            x = x.permute(0, 2, 3, 1)
        x = self.act(self.pointwise_conv1(x))
        if self.attention is not None:
            if visible is None:
                x = self.attention(x)
            else:
                last = self.linear_pw_conv
                x = self.attention(x, visible.permute(0, 2, 3, 1) if last else visible)
        x = self.pointwise_conv2(x)
        if self.linear_pw_conv:
            x = x.permute(0, 3, 1, 2)
        if self.gamma is not None:
            x = x * self.gamma.view(1, -1, 1, 1)
        if visible is not None:
            x = x * visible
        return self.drop_path(x)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        plain = visible is None and type(self)._branch is SELNeXtBlock._branch
        if plain and self.impl != 'reference':
            out = fused_forward(self, x)
            if out is not None:
                return out
        args = (x,) if visible is None else (x, visible)
        if self.with_cp and x.requires_grad:
            return x + checkpoint(self._branch, *args, use_reentrant=False)
        return x + self._branch(*args)
